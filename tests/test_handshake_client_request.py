"""What our client sends, what it refuses to send, and what happens without a connection."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl

import pytest
from helpers import EchoListener, Recorder
from raw import TEXT, Never, Peer, RawServer, has_ipv6, row, soon

from picows_c import WSHandshakeError, WSInvalidURL, ws_connect

# ---- the request on the wire ----


async def request_of(net, path="/", **options) -> bytes:
    """Return the head that ws_connect sends."""
    async with RawServer(net) as server:
        url = options.pop("url", f"{net.scheme}://127.0.0.1:{net.port}{path}")
        if net.scheme == "wss":
            options.setdefault("ssl_context", net.certificates.client())
        url = url.replace("PORT", str(net.port))
        connecting = asyncio.ensure_future(ws_connect(Never(), url, **options))
        peer = await server.accept()
        head = await soon(peer.reader.readuntil(b"\r\n\r\n"))
        peer.abort()
        with pytest.raises(WSHandshakeError):
            await soon(connecting)
        return head


async def test_request_is_exactly_this(net):
    first = await request_of(net, "/a/b%20c?d=e&f")
    second = await request_of(net, "")
    keys = []
    for head, target in ((first, b"/a/b%20c?d=e&f"), (second, b"/")):
        lines = head.split(b"\r\n")
        assert lines[0] == b"GET " + target + b" HTTP/1.1"
        assert lines[1].startswith(b"Host: 127.0.0.1:")
        assert lines[2:5] == [
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
        ]
        name, key = lines[5].split(b": ")
        assert name == b"Sec-WebSocket-Key"
        assert len(base64.b64decode(key, validate=True)) == 16
        assert lines[6:] == [b"", b""]
        keys.append(key)
    assert keys[0] != keys[1]


async def test_host_without_userinfo(net):
    head = await request_of(net, url=f"{net.scheme}://user:pass@127.0.0.1:PORT/")
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % net.port in head
    assert b"user" not in head.replace(b"User-Agent", b"")


async def test_host_of_ipv6(plain, need):
    need("IPv6 on the loopback interface", has_ipv6())
    async with RawServer(plain, "::1") as server:
        connecting = asyncio.ensure_future(plain.connect(Recorder, host="[::1]"))
        peer = await server.upgrade()
        transport, _ = await soon(connecting)
        assert peer.head[1]["host"] == f"[::1]:{plain.port}"
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


@pytest.mark.parametrize(
    "headers",
    [{"X-A": "1", "x-b": "two words"}, [("X-A", "1"), ("x-b", "two words")], (("X-A", "1"),)],
    ids=["mapping", "list", "tuple"],
)
async def test_extra_headers(net, headers):
    head = await request_of(net, extra_headers=headers)
    assert b"\r\nX-A: 1\r\n" in head
    assert (b"\r\nx-b: two words\r\n" in head) is (len(headers) == 2)
    assert head.count(b"Host: ") == 1


async def test_repeated_extra_headers_and_host(net):
    pairs = [("X", "1"), ("x", "2"), ("hOsT", "other:1")]
    lines = (await request_of(net, extra_headers=pairs)).split(b"\r\n")
    assert lines.count(b"X: 1") == 1
    assert lines.count(b"x: 2") == 1
    assert [x for x in lines if x.lower().startswith(b"host:")] == [b"hOsT: other:1"]


# As they are copied from a browser's tools.
COPIED = {
    "Host": "example.org",
    "User-Agent": "Mozilla/5.0",
    "Origin": "https://example.org",
    "Cookie": "a=b; c=d",
    "Accept-Language": "de,en;q=0.5",
}
# What has to be left out, and what the error names beside it.
LEFT_OUT = [
    ({"Upgrade": "websocket"}, "Upgrade"),
    ({"connection": "keep-alive, Upgrade"}, "Connection"),
    ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-WebSocket-Key"),
    ({"SEC-WEBSOCKET-VERSION": "13"}, "Sec-WebSocket-Version"),
    ({"Sec-WebSocket-Accept": "x"}, "Sec-WebSocket-Accept"),
    ({"Sec-WebSocket-Protocol": "chat"}, "subprotocols="),
    ({"sec-websocket-extensions": "permessage-deflate; client_max_window_bits"}, "compression="),
    ({"Sec-WebSocket-Extensions": "x-own"}, "extensions="),
    ({"Sec-WebSocket-Extensions": ""}, "extensions="),
    ([("Host", "a"), ("host", "b")], "Host"),
]


async def test_headers_copied_from_a_browser(net):
    """Each goes out once, Host instead of ours: an address, and a virtual host."""
    lines = (await request_of(net, extra_headers=COPIED)).decode().split("\r\n")
    for name, value in COPIED.items():
        found = [line for line in lines if line.lower().startswith(f"{name.lower()}:")]
        assert found == [f"{name}: {value}"]
    assert len(lines) == 1 + 5 + (len(COPIED) - 1) + 2


async def test_headers_of_the_handshake_are_not_the_users(net):
    async with RawServer(net) as server:
        for extra, named in LEFT_OUT:
            pairs = list(extra.items()) if isinstance(extra, dict) else extra
            for headers in (pairs, [*COPIED.items(), *pairs]):
                with row(headers), pytest.raises(ValueError) as caught:
                    await net.connect(Never(), extra_headers=headers)
                assert type(caught.value) is ValueError
                assert "extra_headers" in str(caught.value)
                assert named in str(caught.value)
        assert server.count == 0


# ---- refused before anything is opened ----

ARGUMENTS = {
    "CR LF in a value": (ValueError, {"extra_headers": {"X": "a\r\nY: b"}}),
    "LF in a value": (ValueError, {"extra_headers": {"X": "a\nb"}}),
    "NUL in a value": (ValueError, {"extra_headers": [("X", "a\0")]}),
    "CR LF in a name": (ValueError, {"extra_headers": {"X: y\r\nZ": "a"}}),
    "empty name": (ValueError, {"extra_headers": {"": "a"}}),
    "name with a space": (ValueError, {"extra_headers": {"X Y": "a"}}),
    "CR LF in Host": (ValueError, {"extra_headers": {"Host": "a\r\nX: y"}}),
    "lone surrogate": (ValueError, {"extra_headers": {"X": "\ud800"}}),
    "number": (TypeError, {"extra_headers": {"X": 5}}),
    "bytes": (TypeError, {"extra_headers": {b"X": b"y"}}),
    "ssl_context=True": (TypeError, {"ssl_context": True}),
    "ssl_context=str": (TypeError, {"ssl_context": "/etc/ssl"}),
    "max_frame_size": (TypeError, {"max_frame_size": "1"}),
    "negative max_frame_size": (ValueError, {"max_frame_size": -1}),
    "read_buffer_init_size": (ValueError, {"read_buffer_init_size": 0}),
    "close_timeout": (ValueError, {"close_timeout": -1.0}),
    "websocket_handshake_timeout": (TypeError, {"websocket_handshake_timeout": "x"}),
    "logger_name": (TypeError, {"logger_name": 5}),
    "factory": (TypeError, {"ws_listener_factory": None}),
    "no_such_thing": (TypeError, {"no_such_thing": 1}),
    "sock": (TypeError, {"sock": None}),
    "ssl": (TypeError, {"ssl": None}),
}


async def test_wrong_arguments_open_nothing(plain):
    async with RawServer(plain) as server:
        for name, (error, arguments) in ARGUMENTS.items():
            (argument,) = arguments
            all_arguments = {"ws_listener_factory": Never(), **arguments}
            with row(name), pytest.raises(error) as caught:
                await ws_connect(url=plain.url(), **all_arguments)
            if argument != "extra_headers":
                assert argument in str(caught.value)
        await only_connection(server, plain)


async def test_bad_paths_open_nothing(plain):
    async with RawServer(plain) as server:
        for path in ("/\r\nX: y", "/a\nb", "/\0", "/a b", "/\t", "?\r\n", "/#x", "/\x7f"):
            with row(path), pytest.raises(ValueError) as caught:
                await plain.connect(Never(), path)
            assert type(caught.value) is WSInvalidURL
        await only_connection(server, plain)


async def only_connection(server: RawServer, net) -> None:
    """A good connection is the first one that the server sees."""
    connecting = asyncio.ensure_future(net.connect(Recorder))
    peer: Peer = await server.upgrade()
    transport, _ = await soon(connecting)
    assert server.count == 1
    peer.abort()
    await soon(transport.wait_disconnected())


# ---- no connection ----


async def test_connection_refused(net):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        net.port = sock.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await soon(net.connect(Never()))


async def test_untrusted_certificate(net):
    if net.scheme == "ws":
        return
    async with net.serve(lambda request: EchoListener()):
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(ws_connect(Never(), net.url()))
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(ws_connect(Never(), net.url(), ssl_context=ssl.create_default_context()))


async def test_certificate_for_another_name(net):
    if net.scheme == "ws":
        return
    async with net.serve(lambda request: EchoListener()):
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(net.connect(Never(), server_hostname="example.org"))


async def test_own_ssl_context(net):
    if net.scheme == "ws":
        return
    context = net.certificates.client()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with net.serve(lambda request: EchoListener()):
        transport, listener = await soon(
            net.connect(Recorder, ssl_context=context, server_hostname="example.org")
        )
        assert transport.underlying_transport.get_extra_info("ssl_object").context is context
        transport.send(TEXT, "hello")
        assert bytes(await soon(listener.frames.get())) == b"hello"
        transport.disconnect()
        await soon(transport.wait_disconnected())


async def test_tls_client_to_a_plain_server(plain, certificates):
    async with plain.serve(lambda request: EchoListener()):
        with pytest.raises(OSError, match=r"(?i)ssl|eof|connection"):
            await soon(
                ws_connect(
                    Never(),
                    f"wss://127.0.0.1:{plain.port}/",
                    ssl_context=certificates.client(),
                )
            )


async def test_plain_client_to_a_tls_server(certificates, plain):
    async with plain.serve(lambda request: EchoListener(), ssl=certificates.server()):
        with pytest.raises(WSHandshakeError):
            await soon(plain.connect(Never()))
