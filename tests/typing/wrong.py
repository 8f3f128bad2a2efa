"""Uses of the package that a type checker has to refuse; ``make types`` checks this file.

Every line with an ignore has to need it, for mypy (warn_unused_ignores) and for pyright
(reportUnnecessaryTypeIgnoreComment): a type that got too wide is an error here. It is never run.
"""

from __future__ import annotations

from picows_c import (
    PermessageDeflate,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_connect,
    ws_create_server,
)


class Listener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        transport.send("TEXT", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        transport.send(WSMsgType.TEXT, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        transport.send(WSMsgType.TEXT)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        transport.send(WSMsgType.TEXT, "x", final=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        transport.send_close("1000")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        transport.send_ping(125)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        transport.send_reuse_external_bytearray(WSMsgType.TEXT, "x", 14)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        frame.msg_type = WSMsgType.TEXT  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        text: str = frame.get_payload_as_bytes()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        code: str = frame.get_close_code()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        reason: bytes = frame.get_close_message()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        transport.disconnect_cause.kind  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
        transport.is_secure = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        transport.cork().send(WSMsgType.TEXT, "x")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        frame.payload  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        WSCloseCode.FINE  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        print(text, code, reason)


class Wrong(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: bytes) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


class Derived(WSFrame):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    pass


def of_bytes(request: WSUpgradeRequest) -> bytes:
    return request.path


async def connects() -> None:
    await ws_connect(int, "ws://example.org/")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ws_connect(Listener, b"ws://example.org/")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ws_connect(Listener, "ws://example.org/", open_timeout="10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ws_connect(Listener, "ws://example.org/", compression="deflate")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ws_connect(Listener, "ws://example.org/", subprotocols=[1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await ws_connect(Listener)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    transport, listener = await ws_connect(Listener, "ws://example.org/")
    times: float = await transport.measure_roundtrip_time(3)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    own: Listener = listener  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    await transport.disconnect()  # type: ignore[func-returns-value, misc]  # pyright: ignore[reportGeneralTypeIssues]
    PermessageDeflate("best")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(times, own)


async def serves() -> None:
    await ws_create_server(of_bytes, "127.0.0.1", 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ws_create_server(Listener, "127.0.0.1", "http")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    server = await ws_create_server(lambda _: Listener(), "127.0.0.1", 0)
    await ws_create_server(lambda _: Listener(), "127.0.0.1", 0, origins=[b"*"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    server.close_gracefully(1001)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
