"""What ws_connect adds to its request: subprotocols, origin, user agent, credentials."""

from __future__ import annotations

import asyncio

import pytest
from helpers import Recorder
from raw import Never, RawServer, answer_bytes, row, soon

from picows_c import WSInvalidHeaderError, WSUpgradeResponse, ws_connect
from picows_c.handshake import chosen_subprotocol


async def lines_of(net, url=None, **options):
    """Return the header lines that ws_connect adds to the usual ones."""
    async with RawServer(net) as server:
        if net.scheme == "wss":
            options.setdefault("ssl_context", net.certificates.client())
        url = (url or f"{net.scheme}://127.0.0.1:PORT/").replace("PORT", str(net.port))
        connecting = asyncio.ensure_future(ws_connect(Recorder, url, transport=net.way, **options))
        peer = await server.accept()
        head = await soon(peer.reader.readuntil(b"\r\n\r\n"))
        lines = head.decode().split("\r\n")
        key = next(x for x in lines if x.startswith("Sec-WebSocket-Key: "))
        peer.write(answer_bytes(key.partition(": ")[2]))
        transport, _ = await soon(connecting)
        transport.disconnect(False)
        await soon(transport.wait_disconnected())
        assert lines[6:][-2:] == ["", ""]
        return lines[6:-2]


async def test_nothing_unless_asked(net):
    assert await lines_of(net) == []
    assert await lines_of(net, subprotocols=[], origin=None, user_agent=None) == []


async def test_all_of_them(net):
    lines = await lines_of(
        net,
        subprotocols=("chat", "v2.chat"),
        origin="https://example.org:8443",
        user_agent="thing/1.0 (x; y)",
        extra_headers={"X": "y"},
    )
    assert lines == [
        "Origin: https://example.org:8443",
        "Sec-WebSocket-Protocol: chat, v2.chat",
        "User-Agent: thing/1.0 (x; y)",
        "X: y",
    ]


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [
        ("user:pass@", "dXNlcjpwYXNz"),
        ("user@", "dXNlcjo="),
        ("user:@", "dXNlcjo="),
        (":pass@", "OnBhc3M="),
        ("us%65r:p%3Aa%40ss@", "dXNlcjpwOmFAc3M="),
        ("user:p:q@", "dXNlcjpwOnE="),
        ("user:%E4@", "dXNlcjrk"),
        ("user:\xe4@", "dXNlcjrDpA=="),
        ("@", None),
        (":@", None),
    ],
)
async def test_credentials(net, userinfo, credentials):
    lines = await lines_of(net, f"{net.scheme}://{userinfo}127.0.0.1:PORT/")
    assert lines == ([] if credentials is None else [f"Authorization: Basic {credentials}"])


async def test_explicit_authorization_wins(net):
    headers = {"authorization": "Bearer x"}
    url = f"{net.scheme}://user:pass@127.0.0.1:PORT/"
    assert await lines_of(net, url, extra_headers=headers) == ["authorization: Bearer x"]


# ---- refused before anything is opened ----

REFUSED = [
    ("subprotocols", ["a", "a"], ValueError),
    ("subprotocols", [""], ValueError),
    ("subprotocols", ["a,b"], ValueError),
    ("subprotocols", ["a b"], ValueError),
    ("subprotocols", ["a\r\nX: y"], ValueError),
    ("subprotocols", ["a\n"], ValueError),
    ("subprotocols", ["a\0"], ValueError),
    ("subprotocols", ["\xfc"], ValueError),
    ("subprotocols", "chat", TypeError),
    ("subprotocols", b"chat", TypeError),
    ("subprotocols", [b"chat"], TypeError),
    ("subprotocols", 5, TypeError),
    ("origin", "", ValueError),
    ("origin", "https://a b", ValueError),
    ("origin", "https://a\r\nX: y", ValueError),
    ("origin", "https://a\n", ValueError),
    ("origin", "https://a\0", ValueError),
    ("origin", "https://\xfc", ValueError),
    ("origin", b"null", TypeError),
    ("user_agent", "a\r\nX: y", ValueError),
    ("user_agent", "a\n", ValueError),
    ("user_agent", "a\0", ValueError),
    ("user_agent", 5, TypeError),
    ("url", "ws://a%3Ab:c@127.0.0.1:PORT/", ValueError),
    ("url", "ws://a%0D%0AX:c@127.0.0.1:PORT/", ValueError),
    ("url", "ws://a:c%00@127.0.0.1:PORT/", ValueError),
    ("url", "ws://a\r\nX:c@127.0.0.1:PORT/", ValueError),
    ("url", "ws://a:c@127.0.0.1:PORT/\r\nX", ValueError),
    ("extra_headers", {"X": "a\r\nY: b"}, ValueError),
    ("extra_headers", {"X\r\nY": "b"}, ValueError),
    ("extra_headers", {"X": "a\0"}, ValueError),
]


async def test_refused_before_anything_is_opened(plain):
    async def factory(url):
        raise AssertionError("a socket was asked for")

    async with RawServer(plain) as server:
        for name, value, error in REFUSED:
            options = {"url": plain.url(), "socket_factory": factory, "transport": plain.way}
            options[name] = value
            if name == "url":
                options[name] = value.replace("PORT", str(plain.port))
            with row((name, value)), pytest.raises(error) as caught:
                await ws_connect(Never(), **options)
            if name in ("subprotocols", "origin"):
                assert name in str(caught.value).lower()
        assert server.count == 0


# ---- the server's choice ----


async def test_chosen_subprotocol(net):
    async with RawServer(net) as server:
        for chosen in ("chat", "v2.chat", None):
            connecting = asyncio.ensure_future(
                net.connect(Recorder, subprotocols=["chat", "v2.chat"])
            )
            more = {} if chosen is None else {"Sec_WebSocket_Protocol": chosen}
            await server.upgrade(**more)
            transport, _ = await soon(connecting)
            assert chosen_subprotocol(transport.response) == chosen
            transport.disconnect(False)
            await soon(transport.wait_disconnected())
        connecting = asyncio.ensure_future(net.connect(Never(), subprotocols=["chat"]))
        peer = await server.upgrade(Sec_WebSocket_Protocol="other")
        with pytest.raises(WSInvalidHeaderError):
            await soon(connecting)
        await peer.gone()


def test_no_subprotocol_in_any_response():
    assert chosen_subprotocol(WSUpgradeResponse(101)) is None
