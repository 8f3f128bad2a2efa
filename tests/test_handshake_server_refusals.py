"""Requests that our server refuses: the answer, all of it, and the end of the connection."""

from __future__ import annotations

import asyncio
import logging
import struct

import pytest
from helpers import EchoListener, Recorder, request_bytes
from raw import KEY, TEXT, UPGRADE, Peer, complaints, exchange, lines, row, soon, upgraded

from picows_c import WSListener, WSUpgradeResponse, WSUpgradeResponseWithListener, ws_connect

# What is refused before it is looked at as HTTP: status, request.
MALFORMED = {
    "two empty lines": (400, b"\r\n\r\n" + request_bytes()),
    "empty line": (400, b"\r\n\r\n"),
    "LF only": (400, request_bytes().replace(b"\r\n", b"\n")),
    "bare CR": (400, request_bytes(X="a\rb")),
    "NUL": (400, request_bytes(X="a\0b")),
    "control character": (400, request_bytes(X="a\x01b")),
    "two spaces": (400, request_bytes().replace(b"GET /", b"GET  /")),
    "space in target": (400, request_bytes("/a b")),
    "target not ASCII": (400, request_bytes("/\xe9")),
    "no target": (400, request_bytes().replace(b"GET / ", b"GET ")),
    "no version": (400, lines(*UPGRADE, first="GET /")),
    "HTTP/1.2": (400, lines(*UPGRADE, first="GET / HTTP/1.2")),
    "HTTP/2.0": (400, lines(*UPGRADE, first="GET / HTTP/2.0")),
    "HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "lower-case version": (400, lines(*UPGRADE, first="GET / http/1.1")),
    "leading space": (400, b" " + request_bytes()),
    "folded": (400, request_bytes(X="a\r\n b")),
    "space before colon": (400, lines("Host : h", *UPGRADE)),
    "no colon": (400, lines("nonsense", *UPGRADE)),
    "empty name": (400, lines(": h", *UPGRADE)),
    "name not a token": (400, lines("X(): h", *UPGRADE)),
    "another protocol": (400, b"SSH-2.0-OpenSSH_9.6\r\n"),
    "129 headers": (431, lines(*UPGRADE, *(f"X-{i}: {i}" for i in range(129 - len(UPGRADE))))),
    "too large": (431, lines(*UPGRADE, "X: " + "y" * (16385 - len(lines(*UPGRADE, "X: "))))),
    "too large a target": (431, b"GET /" + b"y" * 16384),
}

# HTTP, but no upgrade request.
REFUSED = {
    "HTTP/1.0": (400, lines(*UPGRADE, first="GET / HTTP/1.0")),
    "two Hosts, HTTP/1.0": (400, lines("Host: h", "Host: h", first="GET / HTTP/1.0")),
    "no path": (400, request_bytes("a/b")),
    "* with GET": (400, request_bytes("*")),
    "an authority": (400, request_bytes("h:80")),
    "another scheme": (400, request_bytes("ftp://h/")),
    "absolute without a host": (400, request_bytes("http:///a")),
    "absolute with user information": (400, request_bytes("http://user@h/")),
    "absolute and no Host": (400, request_bytes("http://h/", drop=("Host",))),
    "no Host": (400, request_bytes(drop=("Host",))),
    "two Hosts": (400, lines("Host: h", *UPGRADE)),
    "Transfer-Encoding": (400, request_bytes(Transfer_Encoding="chunked")),
    "Content-Length": (400, request_bytes(Content_Length="5") + b"hello"),
    "Content-Length +0": (400, request_bytes(Content_Length="+0")),
    "Content-Length empty": (400, request_bytes(Content_Length="")),
    "two Content-Lengths": (400, lines("Content-Length: 0", "Content-Length: 0", *UPGRADE)),
    "POST": (405, lines(*UPGRADE, first="POST / HTTP/1.1")),
    "get": (405, lines(*UPGRADE, first="get / HTTP/1.1")),
    "CONNECT": (405, lines(*UPGRADE, first="CONNECT h:80 HTTP/1.1")),
    "HEAD": (400, lines(*UPGRADE, first="HEAD / HTTP/1.1")),
    "plain GET": (400, lines("Host: h")),
    "no Upgrade": (400, request_bytes(drop=("Upgrade",))),
    "other Upgrade": (400, request_bytes(Upgrade="websockets")),
    "Upgrade with version": (400, request_bytes(Upgrade="websocket 13")),
    "no Connection": (400, request_bytes(drop=("Connection",))),
    "other Connection": (400, request_bytes(Connection="keep-alive, Upgraded")),
    "no key": (400, request_bytes(drop=("Sec-WebSocket-Key",))),
    "empty key": (400, request_bytes(Sec_WebSocket_Key="")),
    "short key": (400, request_bytes(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAA")),
    "long key": (400, request_bytes(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAAAA")),
    "key without padding": (400, request_bytes(Sec_WebSocket_Key=KEY[:-2])),
    "key not base64": (400, request_bytes(Sec_WebSocket_Key="!" + KEY[1:])),
    "key with space": (400, request_bytes(Sec_WebSocket_Key=KEY[:8] + " " + KEY[8:])),
    "key not ASCII": (400, request_bytes(Sec_WebSocket_Key="\xe9" + KEY[1:])),
    "two keys": (400, lines(f"Sec-WebSocket-Key: {KEY}", *UPGRADE)),
    "no version": (426, request_bytes(drop=("Sec-WebSocket-Version",))),
    "version 8": (426, request_bytes(Sec_WebSocket_Version="8")),
    "version 7": (426, request_bytes(Sec_WebSocket_Version="7")),
    "version 130": (426, request_bytes(Sec_WebSocket_Version="130")),
    "version list": (426, request_bytes(Sec_WebSocket_Version="8, 13")),
    "version not a number": (426, request_bytes(Sec_WebSocket_Version="x")),
    "two versions": (426, lines("Sec-WebSocket-Version: 13", *UPGRADE)),
}

REASONS = {
    400: "Bad Request",
    405: "Method Not Allowed",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
}


class Counting:
    """A factory that counts its calls."""

    def __init__(self) -> None:
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        return EchoListener()


async def test_malformed_heads_are_refused(net):
    factory = Counting()
    async with net.serve(factory):
        for name, (status, request) in MALFORMED.items():
            with row(name):
                first, headers, body = await exchange(net, request)
                assert first == f"HTTP/1.1 {status} {REASONS[status]}"
                assert headers["connection"] == "close"
                assert headers["content-type"].startswith("text/plain")
                assert headers["content-length"] == str(len(body))
                assert body
    assert factory.requests == []


async def test_other_requests_are_refused(net):
    async with net.serve(lambda request: EchoListener()):
        for name, (status, request) in REFUSED.items():
            with row(name):
                first, headers, body = await exchange(net, request)
                assert first == f"HTTP/1.1 {status} {REASONS[status]}"
                assert "close" in headers["connection"]
                assert "sec-websocket-accept" not in headers
                if status == 426:
                    assert headers["sec-websocket-version"] == "13"
                    assert headers["upgrade"] == "websocket"
                if name == "HTTP/1.0":
                    assert body == b"an upgrade needs HTTP/1.1"
                if name == "HEAD":
                    assert body == b""
                else:
                    assert body
                    assert headers["content-length"] == str(len(body))


async def test_refused_listener_hears_nothing(net):
    listener = Recorder()
    async with net.serve(lambda request: listener):
        first, _, _ = await exchange(net, request_bytes(drop=("Sec-WebSocket-Key",)))
        assert first.startswith("HTTP/1.1 400 ")
    assert listener.events == []


def healthy(request):
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"fine"), None)


async def test_tls_client_at_a_plain_port(plain, certificates):
    hello = struct.pack("!BHH", 22, 0x0301, 300) + bytes(300)
    async with plain.serve(lambda request: EchoListener()):
        first, _, _ = await exchange(plain, hello)
        assert first == "HTTP/1.1 400 Bad Request"
        with pytest.raises(OSError, match=r"(?i)ssl|eof|connection"):
            await ws_connect(
                WSListener, f"wss://127.0.0.1:{plain.port}/", ssl_context=certificates.client()
            )


@pytest.mark.parametrize(
    "request_",
    [b"nonsense\r\n\r\n", request_bytes("/health"), request_bytes(drop=("Host",))],
    ids=["malformed", "answered", "refused"],
)
async def test_whole_answer_arrives_while_the_peer_goes_on_sending(net, request_):
    """Unread input would make the system reset the connection, and destroy the answer."""
    async with net.serve(healthy):
        for _ in range(5):
            peer = Peer(*await soon(net.open()), is_client=True)
            peer.write(request_, bytes(100_000))
            first, _ = await peer.read_head()
            for _ in range(8):
                peer.write(bytes(50_000))
                await asyncio.sleep(0)
            assert first.startswith("HTTP/1.1 ")
            assert (await peer.rest()) != b""
            peer.abort()


async def test_refused_peer_that_never_stops_is_given_up(plain):
    """Lingering discards a bounded number of bytes."""
    async with plain.serve(healthy):
        peer = Peer(*await soon(plain.open()), is_client=True)
        peer.write(request_bytes("/health"))

        assert await peer.flood(bytes(1 << 16)) < 64 << 20


# ---- peers that say nothing ----


@pytest.mark.parametrize("said", [b"", request_bytes()[:-1]], ids=["nothing", "half a head"])
async def test_silent_peer_is_dropped(net, caplog, said):
    caplog.set_level(logging.INFO, "picows_c")
    async with net.serve(lambda request: EchoListener(), websocket_handshake_timeout=0.05):
        peer = Peer(*await soon(net.open()), is_client=True)
        peer.write(said)
        await peer.gone()
        peer.abort()
    assert any("handshake timeout" in record.message for record in caplog.records)


async def test_timeout_ends_with_the_handshake(net):
    async with net.serve(lambda request: EchoListener(), websocket_handshake_timeout=0.3):
        talking = await upgraded(net)
        silent = Peer(*await soon(net.open()), is_client=True)
        await silent.gone()
        silent.abort()
        talking.send(TEXT, b"here")
        await talking.expect(TEXT, b"here")
        talking.abort()


async def test_peer_that_leaves_before_its_head_is_complete(net, caplog):
    factory = Counting()
    async with net.serve(factory):
        for said in (b"", b"GET / HT", request_bytes()[:-2]):
            peer = Peer(*await soon(net.open()), is_client=True)
            peer.write(said)
            await peer.writer.drain()
            peer.abort()
        peer = await upgraded(net)
        peer.abort()
    assert len(factory.requests) == 1
    assert complaints(caplog) == []
