"""Uses of the package that a type checker has to accept; ``make types`` checks this file.

It is never run.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from array import array
from typing import Optional

from picows_c import (
    PermessageDeflate,
    WSAutoPingStrategy,
    WSCloseCode,
    WSCloseHandshake,
    WSDisconnectCause,
    WSDisconnectKind,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSServer,
    WSServerStats,
    WSTransport,
    WSTransportStats,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
    ws_create_unix_server,
)


class Listener(WSListener):
    def __init__(self) -> None:
        self.kept: list[WSFrame] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "text")
        transport.send(WSMsgType.BINARY, b"bytes")
        transport.send(WSMsgType.BINARY, bytearray(8), fin=False)
        transport.send(WSMsgType.CONTINUATION, memoryview(b"view"))
        transport.send(WSMsgType.BINARY, array("d", [1.0]))
        transport.send(WSMsgType.BINARY, None)
        transport.send(1, "opcodes are numbers", True, False, False, False)
        transport.send_ping()
        transport.send_pong(b"pong")
        transport.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(64), 14)
        with transport.cork():
            transport.send(WSMsgType.TEXT, "together")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind: WSMsgType = frame.msg_type
        if kind == WSMsgType.CLOSE:
            code: WSCloseCode = frame.get_close_code()
            reason: Optional[bytes] = frame.get_close_message()
            transport.send_close(code, reason)
            text: Optional[str] = frame.get_close_reason()
            print(text, code.name, int(code) + 1)
            return
        payload: bytes = frame.get_payload_as_bytes()
        view: memoryview = frame.get_payload_as_memoryview()
        number: int = frame.payload_size + frame.tail_size + len(payload) + len(view)
        last: bool = frame.fin and frame.last_in_buffer and not frame.rsv1
        print(frame.get_payload_as_utf8_text() + frame.get_payload_as_ascii_text(), number, last)
        # A frame is a buffer.
        transport.send(frame.msg_type, frame)
        print(bytes(frame), memoryview(frame).nbytes)
        self.kept.append(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        cause: Optional[WSDisconnectCause] = transport.disconnect_cause
        if cause is not None and cause.kind is WSDisconnectKind.PEER_CLOSE:
            print(cause.initiator, cause.code, cause.reason, cause.exception)
        handshake: Optional[WSCloseHandshake] = transport.close_handshake
        if handshake is not None and handshake.recv is not None:
            print(handshake.recv.code, handshake.recv.reason, handshake.recv_then_sent)

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        return frame.msg_type == WSMsgType.TEXT

    def on_ws_error(self, transport: WSTransport, exc: Exception, where: str) -> None:
        print(exc, where)


def any_answer(request: WSUpgradeRequest) -> Optional[WSListener]:
    return Listener() if request.path == b"/" else None


def own_answer(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
    if "Cookie" not in request.headers:
        response = WSUpgradeResponse.create_error_response(403, b"no cookie")
        return WSUpgradeResponseWithListener(response, None)
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(), Listener())


def choose(request: WSUpgradeRequest, offered: list[str]) -> Optional[str]:
    return offered[0] if offered else None


async def client() -> None:
    transport, listener = await ws_connect(Listener, "ws://127.0.0.1:9001/")
    base: WSListener = listener
    await transport.drain()
    times: list[float] = await transport.measure_roundtrip_time(3)
    stats: WSTransportStats = transport.stats
    transport.pause_reading()
    transport.resume_reading()
    transport.disconnect(graceful=False)
    await transport.wait_disconnected()
    print(times, stats.bytes_sent, transport.write_buffer_size, transport.is_secure, base)
    carrier: asyncio.Transport = transport.underlying_transport
    carrier.set_write_buffer_limits(high=1 << 20)
    if transport.request is not None:
        print(transport.request.headers.getall("Host"), transport.subprotocol)


def with_both(request: WSUpgradeRequest, response: WSUpgradeResponse) -> Listener:
    print(request.path, int(response.status), response.headers.get("Server"))
    return Listener()


async def every_option_of_a_client() -> None:
    try:
        await ws_connect(
            with_both,
            "wss://example.org/path?query",
            ssl_context=ssl.create_default_context(),
            open_timeout=None,
            close_timeout=2,
            logger_name="feed",
            enable_auto_ping=True,
            auto_ping_strategy=WSAutoPingStrategy.PING_PERIODICALLY,
            assemble_messages=True,
            compression=PermessageDeflate(level=1),
            extra_headers={"Authorization": "Bearer x"},
            subprotocols=["v2", "v1"],
            proxy=True,
            unix_path=None,
            max_write_buffer_size=1 << 20,
            on_write_overflow="drop",
            socket_options=[(6, 1, 1), (6, 2, b"\0\0\0\0")],
            transport="loop",
            server_hostname="example.org",
        )
    except WSInvalidStatusError as error:
        if error.response is not None:
            print(error.response.status, error.raw_body)
    await ws_connect(
        Listener, "ws://example.org/", extra_headers=[("Cookie", "a"), ("Cookie", "b")]
    )
    await ws_connect(Listener, "ws://example.org/", compression=True)


async def servers() -> None:
    server: WSServer = await ws_create_server(
        any_answer,
        ["127.0.0.1", "::1"],
        9001,
        origins=["https://example.org", re.compile("https://.*"), None],
        subprotocols=choose,
        max_connections=10,
    )
    async with server:
        for sock in server.sockets:
            print(sock.getsockname())
        stats: WSServerStats = server.stats
        left: int = await server.close_gracefully(WSCloseCode.GOING_AWAY, 5, "bye")
        print(stats.open, stats.pending, left)
    await ws_create_server(own_answer, "127.0.0.1", 0, subprotocols=("v2",))
    await ws_create_server(Listener, "127.0.0.1", 0)
    await ws_create_unix_server(own_answer, "/run/ws.sock", mode=0o660)
