"""The opening handshake as our server sees it: every kind of request, written by hand."""

from __future__ import annotations

import asyncio

import pytest
from helpers import EchoListener, Recorder, accept_for, request_bytes
from multidict import CIMultiDict
from raw import (
    BINARY,
    KEY,
    TEXT,
    UPGRADE,
    Never,
    Peer,
    complaints,
    exchange,
    has_ipv6,
    lines,
    row,
    soon,
    upgraded,
)

from picows_c import (
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    _core,
    ws_create_server,
)

SWITCHING = "HTTP/1.1 101 Switching Protocols"


GOOD = {
    "as browsers do": request_bytes(Connection="keep-alive, Upgrade"),
    "token lists": request_bytes(Connection="a,UPGRADE ,b", Upgrade="h2c, WebSocket"),
    "odd case": b"GET / HTTP/1.1\r\nhOST: h\r\nUPGRADE: WEBsocket\r\nconnection: upGrade\r\n"
    b"sec-websocket-VERSION: 13\r\nSEC-WEBSOCKET-KEY: " + KEY.encode() + b"\r\n\r\n",
    "white space": request_bytes(Upgrade=" \t websocket \t", Sec_WebSocket_Version="\t13 "),
    "no white space": request_bytes().replace(b": ", b":"),
    "repeated": lines("Connection: keep-alive", "Upgrade: h2c", *UPGRADE),
    "extra": request_bytes(Origin="http://o", User_Agent="", X_Odd="\x80\xff", Cookie="a=b; c=d"),
    "no content": request_bytes(Content_Length="0"),
    "no content at all": request_bytes(Content_Length="000"),
    "128 headers": lines(*UPGRADE, *(f"X-{i}: {i}" for i in range(128 - len(UPGRADE)))),
    "16384 bytes": lines(*UPGRADE, "X: " + "y" * (16384 - len(lines(*UPGRADE, "X: ")))),
    "odd target": request_bytes("/a//b;c?d=%00&e#f"),
    "an empty line first": b"\r\n" + request_bytes(),
    "empty fields": request_bytes(Sec_WebSocket_Protocol="", Sec_WebSocket_Extensions=" "),
}

# ---- agreed ----


async def test_good_requests_are_upgraded(net):
    async with net.serve(lambda request: EchoListener()):
        for name, request in GOOD.items():
            with row(name):
                peer = Peer(*await soon(net.open()), is_client=True)
                peer.write(request)
                first, headers = await peer.read_head()
                assert first == SWITCHING
                assert headers["upgrade"] == "websocket"
                assert headers["connection"].lower() == "upgrade"
                assert headers["sec-websocket-accept"] == accept_for(KEY)
                assert set(headers) == {"upgrade", "connection", "sec-websocket-accept"}
                peer.send(TEXT, b"hello")
                await peer.expect(TEXT, b"hello")
                peer.abort()


async def test_head_in_single_bytes(net):
    async with net.serve(lambda request: EchoListener()):
        peer = Peer(*await soon(net.open()), is_client=True)
        for byte in request_bytes() + peer.frame(TEXT, b"hello"):
            peer.write(bytes([byte]))
            await asyncio.sleep(0)
        first, _ = await peer.read_head()
        assert first == SWITCHING
        await peer.expect(TEXT, b"hello")
        peer.abort()


async def test_frames_glued_to_the_head_come_after_on_ws_connected(net):
    listener = Recorder()
    async with net.serve(lambda request: listener):
        peer = Peer(*await soon(net.open()), is_client=True)
        glued = peer.frame(TEXT, b"one") + peer.frame(BINARY, b"2" * 300) + peer.frame(TEXT, b"3")
        peer.write(request_bytes(), glued[:-1])
        assert bytes(await soon(listener.frames.get())) == b"one"
        assert bytes(await soon(listener.frames.get())) == b"2" * 300
        peer.write(glued[-1:])
        assert bytes(await soon(listener.frames.get())) == b"3"
        assert listener.events == ["connected", "TEXT", "BINARY", "TEXT"]
        peer.abort()
        await soon(listener.disconnected.wait())


async def test_request_reaches_factory_and_transport(net):
    seen = []
    listener = Recorder()

    def factory(request):
        seen.append(request)
        return listener

    async with net.serve(factory):
        peer = await upgraded(net, "/room?id=7", X_Thing="\xe9", x_thing="two")
        (request,) = seen
        assert request.method == b"GET"
        assert request.path == b"/room?id=7"
        assert request.version == b"HTTP/1.1"
        assert request.headers["sec-websocket-key"] == KEY
        # What is not ASCII survives as surrogates, as in picows.
        assert request.headers.getall("X-THING") == ["\udce9", "two"]
        assert listener.transport.request is request
        assert listener.transport.response.status == 101
        assert listener.transport.is_client_side is False
        assert listener.transport.is_secure is (net.scheme == "wss")
        peer.abort()
        await soon(listener.disconnected.wait())


async def test_headers_are_there_whenever_somebody_asks(net):
    """They are made when they are first asked for, also after the connection; and then kept."""
    listener = Recorder()

    def factory(request):
        # What the handshake needs was read before.
        request.headers = CIMultiDict({"X": "mine"})
        return listener

    async with net.serve(factory):
        peer = await upgraded(net)
        peer.abort()
        await soon(listener.disconnected.wait())
    transport = listener.transport
    assert transport.request.headers == CIMultiDict({"X": "mine"})
    headers = transport.response.headers
    assert headers == CIMultiDict({"Connection": "upgrade", "Upgrade": "websocket"})
    headers["X"] = "y"
    assert transport.response.headers["x"] == "y"
    # The next response is another one.
    other = WSUpgradeResponse.create_101_response()
    assert "X" not in other.headers
    other.headers = headers
    assert other.headers is headers


def test_fields_of_what_is_no_request():
    assert _core._request_fields(b"GET / HTTP/1.1\r\nA: b\r\nA:c\r\n\r\n") == [
        ("A", "b"),
        ("A", "c"),
    ]
    for head in (b"", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(20_000)):
        with pytest.raises(ValueError):
            _core._request_fields(head)
    with pytest.raises(TypeError):
        _core._request_fields("GET / HTTP/1.1\r\n\r\n")


ABSOLUTE = {
    "http://other:81/ws?a=1": (b"/ws?a=1", "other:81"),
    "HTTPS://[::1]/": (b"/", "[::1]"),
    "ws://other": (b"/", "other"),
    "wss://other?a=/b": (b"/?a=/b", "other"),
}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_absolute_targets(net, version):
    """RFC 9112, 3.2.2: path and Host come from the target."""
    seen = []

    def factory(request):
        seen.append(request)
        return EchoListener() if version == "HTTP/1.1" else route(request)

    async with net.serve(factory):
        for target, expected in ABSOLUTE.items():
            seen.clear()
            with row(target):
                first = f"GET {target} {version}"
                peer = Peer(*await soon(net.open()), is_client=True)
                peer.write(lines(*UPGRADE, "X: y", first=first))
                status, _ = await peer.read_head()
                assert status == SWITCHING if version == "HTTP/1.1" else "HTTP/1.1 404 Not Found"
                (request,) = seen
                assert (request.path, request.headers["host"]) == expected
                assert request.headers.getall("Host") == [expected[1]]
                assert request.headers["X"] == "y"
                peer.abort()


async def test_own_response_with_subprotocol(net):
    response = WSUpgradeResponse.create_101_response(
        {"Sec-WebSocket-Protocol": "chat", "X-Own": "yes"}
    )
    listener = Recorder()

    def factory(request):
        assert request.headers["Sec-WebSocket-Protocol"] == "chat, other"
        return WSUpgradeResponseWithListener(response, listener)

    async with net.serve(factory):
        peer = await upgraded(net, Sec_WebSocket_Protocol="chat, other")
        assert peer.head[1]["sec-websocket-protocol"] == "chat"
        assert peer.head[1]["x-own"] == "yes"
        assert peer.head[1]["sec-websocket-accept"] == accept_for(KEY)
        assert listener.transport.response is response
        peer.abort()
        await soon(listener.disconnected.wait())


# ---- other answers ----


def route(request):
    """Answer by path, as an application would."""
    path, _, query = request.path.partition(b"?")
    response = {
        b"/health": lambda: WSUpgradeResponse.create_ok_response(b"fine"),
        b"/empty": WSUpgradeResponse.create_ok_response,
        b"/json": lambda: WSUpgradeResponse.create_ok_response(
            b"{}", {"Content-Type": "application/json"}
        ),
        b"/echo": lambda: WSUpgradeResponse.create_ok_response(query),
        b"/secret": lambda: WSUpgradeResponse.create_error_response(
            403, b"no", [("WWW-Authenticate", "a"), ("WWW-Authenticate", "b")]
        ),
        b"/teapot": lambda: WSUpgradeResponse.create_error_response(418),
        b"/odd": lambda: WSUpgradeResponse.create_error_response(599, b"odd"),
        b"/moved": lambda: WSUpgradeResponse.create_redirect_response(302, "ws://other/x?y"),
        b"/cors": lambda: WSUpgradeResponse.create_ok_response(
            b"x", {"Access-Control-Allow-Origin": "*", "Allow": "GET"}
        ),
        b"/nothing": lambda: WSUpgradeResponse(204),
    }.get(path)
    if path == b"/ws":
        return EchoListener()
    return None if response is None else WSUpgradeResponseWithListener(response(), None)


ROUTES = [
    ("/health", "HTTP/1.1 200 OK", {"content-type": "text/plain; charset=utf-8"}, b"fine"),
    ("/empty", "HTTP/1.1 200 OK", {"content-length": "0"}, b""),
    ("/json", "HTTP/1.1 200 OK", {"content-type": "application/json"}, b"{}"),
    ("/echo?a=b&c", "HTTP/1.1 200 OK", {}, b"a=b&c"),
    ("/secret", "HTTP/1.1 403 Forbidden", {"content-type": "text/plain"}, b"no"),
    ("/teapot", "HTTP/1.1 418 I'm a Teapot", {"content-length": "0"}, b""),
    ("/odd", "HTTP/1.1 599", {}, b"odd"),
    ("/moved", "HTTP/1.1 302 Found", {"location": "ws://other/x?y"}, b""),
    ("/nowhere", "HTTP/1.1 404 Not Found", {"content-type": "text/plain"}, b"404 Not Found"),
    ("/", "HTTP/1.1 404 Not Found", {}, b"404 Not Found"),
]


@pytest.mark.parametrize("upgrade", [True, False], ids=["upgrade", "plain GET"])
async def test_http_answers(net, upgrade):
    async with net.serve(route):
        for path, status, headers, body in ROUTES:
            get = lines("Host: h", first=f"GET {path} HTTP/1.1")
            with row(path):
                first, got, rest = await exchange(net, request_bytes(path) if upgrade else get)
                assert first.strip() == status
                assert headers.items() <= got.items()
                assert got["connection"] == "close"
                assert got["content-length"] == str(len(body))
                assert rest == body


async def test_no_content_has_no_length(net):
    async with net.serve(route):
        first, got, rest = await exchange(net, request_bytes("/nothing"))
        assert (first, rest) == ("HTTP/1.1 204 No Content", b"")
        assert got == {"connection": "close"}


async def test_head_gets_the_headers_of_get(net):
    async with net.serve(route):
        for path, status, _, body in ROUTES:
            request = lines("Host: h", first=f"HEAD {path} HTTP/1.1")
            first, got, rest = await exchange(net, request)
            assert (first.strip(), rest) == (status, b"")
            assert got["content-length"] == str(len(body))


HEALTH = [
    lines(first="GET /health HTTP/1.0"),
    lines("Host: h", first="GET /health HTTP/1.0"),
    lines(first="GET http://h/health HTTP/1.0"),
    # "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."
    lines(*UPGRADE, first="GET /health HTTP/1.0"),
    lines("Host: h", first="GET /health HTTP/1.1"),
    b"\r\n" + lines("Host: h", first="GET /health HTTP/1.1"),
]


async def test_pages_for_http_1_0(net):
    """As nginx asks its upstreams by default, ab, and many health checks."""
    versions = []

    def factory(request):
        versions.append(request.version)
        return route(request)

    async with net.serve(factory):
        for request in HEALTH:
            with row(request):
                first, headers, body = await exchange(net, request)
                assert (first, body) == ("HTTP/1.1 200 OK", b"fine")
                assert headers["connection"] == "close"
        first, headers, body = await exchange(net, lines(first="HEAD /health HTTP/1.0"))
        assert (first, headers["content-length"], body) == ("HTTP/1.1 200 OK", "4", b"")
        first, _, _ = await exchange(net, lines(first="GET /nowhere HTTP/1.0"))
        assert first == "HTTP/1.1 404 Not Found"
    assert versions == [b"HTTP/1.0"] * 4 + [b"HTTP/1.1"] * 2 + [b"HTTP/1.0"] * 2


async def test_an_upgrade_in_http_1_0_is_none(net):
    """RFC 9110, 7.8: what is asked of upgrades is not asked of it."""
    async with net.serve(route, origins=["https://h"]):
        fields = (*UPGRADE, "Origin: https://other")
        for version, status in (("1.0", "200 OK"), ("1.1", "403 Forbidden")):
            request = lines(*fields, first=f"GET /health HTTP/{version}")
            assert (await exchange(net, request))[0] == f"HTTP/1.1 {status}"


ALLOWED = "GET, HEAD, OPTIONS"
OPTIONS = [
    # target, status, Allow, body
    ("/health", "204 No Content", ALLOWED, b""),
    ("/ws", "204 No Content", ALLOWED, b""),
    ("*", "204 No Content", ALLOWED, b""),
    ("http://h/health", "204 No Content", ALLOWED, b""),
    ("/cors", "204 No Content", "GET", b""),
    ("/secret", "403 Forbidden", None, b"no"),
    ("/moved", "302 Found", None, b""),
    ("/nowhere", "404 Not Found", None, b"404 Not Found"),
]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_options(net, version):
    """HAProxy's check by default, and a browser's question before a request to another origin."""
    async with net.serve(route):
        for target, status, allow, body in OPTIONS:
            with row(target):
                request = lines("Host: h", first=f"OPTIONS {target} {version}")
                first, headers, rest = await exchange(net, request)
                assert (first, rest) == (f"HTTP/1.1 {status}", body)
                assert headers.get("allow") == allow
                assert headers.get("access-control-allow-origin") == (
                    "*" if target == "/cors" else None
                )
                if status.startswith("204"):
                    assert not {"content-type", "content-length", "upgrade"} & set(headers)


async def test_other_methods(net):
    """They never reach the factory."""
    async with net.serve(Never()):
        for method in ("POST", "PUT", "DELETE", "TRACE", "PATCH", "get", "X-OWN"):
            for version in ("HTTP/1.1", "HTTP/1.0"):
                with row((method, version)):
                    fields = ("Host: h", "Content-Length: 2")
                    request = lines(*fields, first=f"{method} /health {version}") + b"{}"
                    first, headers, body = await exchange(net, request)
                    assert first == "HTTP/1.1 405 Method Not Allowed"
                    assert headers["allow"] == ALLOWED
                    assert body


async def test_routes_beside_each_other(net):
    async with net.serve(route):
        transport, listener = await net.connect(Recorder, "/ws?x")
        assert (await exchange(net, lines("Host: h", first="GET /health HTTP/1.1")))[2] == b"fine"
        transport.send(TEXT, "still there")
        assert bytes(await soon(listener.frames.get())) == b"still there"
        transport.disconnect()
        await soon(transport.wait_disconnected())


async def test_repeated_headers_of_the_user_are_kept(net):
    async with net.serve(route):
        peer = Peer(*await soon(net.open()), is_client=True)
        peer.write(request_bytes("/secret"))
        answer = await peer.rest()
        assert answer.count(b"WWW-Authenticate: a\r\n") == 1
        assert answer.count(b"WWW-Authenticate: b\r\n") == 1
        peer.abort()


async def test_response_used_again(net):
    response = WSUpgradeResponse.create_ok_response(b"same", {"X": "y", "Connection": "keep-alive"})
    before, headers = response.to_bytes(), list(response.headers.items())
    async with net.serve(lambda request: WSUpgradeResponseWithListener(response, None)):
        answers = []
        for _ in range(3):
            peer = Peer(*await soon(net.open()), is_client=True)
            peer.write(request_bytes())
            answers.append(await peer.rest())
            peer.abort()
    assert len(set(answers)) == 1
    assert answers[0].lower().count(b"content-length: ") == 1
    assert answers[0].lower().count(b"connection: ") == 1
    assert b"connection: close\r\n" in answers[0].lower()
    assert response.to_bytes() == before
    assert list(response.headers.items()) == headers


async def test_101_used_again(net):
    response = WSUpgradeResponse.create_101_response({"X": "y"})
    answer = lambda request: WSUpgradeResponseWithListener(response, EchoListener())  # noqa: E731
    async with net.serve(answer):
        for key in (KEY, "AAAAAAAAAAAAAAAAAAAAAA=="):
            peer = await upgraded(net, Sec_WebSocket_Key=key)
            assert peer.head[1]["sec-websocket-accept"] == accept_for(key)
            peer.abort()
    assert "Sec-WebSocket-Accept" not in response.headers


# ---- faults of the application ----


async def test_factory_that_raises(net, caplog):
    def factory(request):
        raise RuntimeError("the password is 12345")

    async with net.serve(factory):
        first, headers, body = await exchange(net, request_bytes())
        assert first == "HTTP/1.1 500 Internal Server Error"
        assert headers == {"connection": "close", "content-length": "0"}
        assert body == b""
    (record,) = complaints(caplog)
    assert record.name == "picows_c.server"
    assert record.exc_info[0] is RuntimeError
    assert "the password is 12345" in caplog.text
    assert "in factory" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        "a string",
        EchoListener,
        WSUpgradeResponse.create_ok_response(b"x"),
        WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(), object()),
    ],
    ids=["str", "class", "response without listener", "listener of a wrong type"],
)
async def test_factory_that_returns_something_else(net, caplog, answer):
    async with net.serve(lambda request: answer):
        first, _, body = await exchange(net, request_bytes())
        assert (first, body) == ("HTTP/1.1 500 Internal Server Error", b"")
    (record,) = complaints(caplog)
    assert record.exc_info[0] is TypeError


def bad_responses():
    split = WSUpgradeResponse.create_ok_response(b"x")
    split.headers["X"] = "a\r\nSet-Cookie: evil"
    name = WSUpgradeResponse.create_101_response()
    name.headers["X: y\r\nZ"] = "a"
    nul = WSUpgradeResponse.create_redirect_response(302, "/x")
    nul.headers["Location"] = "/\0"
    number = WSUpgradeResponse.create_101_response()
    number.headers["X"] = 5
    body = WSUpgradeResponse.create_101_response()
    body.body = b"a frame, perhaps"
    return {"CR LF": split, "name": name, "NUL": nul, "type": number, "body of 101": body}


@pytest.mark.parametrize("response", bad_responses().values(), ids=bad_responses().keys())
async def test_bad_response_of_the_user(net, caplog, response):
    listener = Recorder() if response.status == 101 else None
    async with net.serve(lambda request: WSUpgradeResponseWithListener(response, listener)):
        first, _, body = await exchange(net, request_bytes())
        assert (first, body) == ("HTTP/1.1 500 Internal Server Error", b"")
    (record,) = complaints(caplog)
    assert record.exc_info[0] in (ValueError, TypeError)
    assert listener is None or listener.events == []


# ---- ws_create_server's arguments ----


ARGUMENTS = [
    (TypeError, "'no_such_thing'", {"no_such_thing": 1}),
    (TypeError, "ssl", {"ssl": True}),
    (TypeError, "logger_name", {"logger_name": 5}),
    (TypeError, "max_frame_size", {"max_frame_size": 1.5}),
    (ValueError, "max_frame_size", {"max_frame_size": 0}),
    (ValueError, "max_frame_size", {"max_frame_size": 1 << 64}),
    (ValueError, "read_buffer_init_size", {"read_buffer_init_size": -1}),
    (TypeError, "websocket_handshake_timeout", {"websocket_handshake_timeout": "5"}),
    (ValueError, "websocket_handshake_timeout", {"websocket_handshake_timeout": 0}),
    (ValueError, "close_timeout", {"close_timeout": float("nan")}),
    (TypeError, "ws_listener_factory", {"ws_listener_factory": None}),
]


async def test_wrong_arguments():
    for error, match, arguments in ARGUMENTS:
        with row(arguments), pytest.raises(error, match=match):
            await ws_create_server(
                host="127.0.0.1", port=0, **{"ws_listener_factory": EchoListener, **arguments}
            )


async def test_ipv6_and_several_addresses(net, need):
    need("IPv6 on the loopback interface", has_ipv6())
    async with net.serve(lambda request: EchoListener(), host="::1"):
        transport, listener = await net.connect(Recorder, host="[::1]")
        transport.send(BINARY, b"six")
        assert bytes(await soon(listener.frames.get())) == b"six"
        assert transport.request.headers["Host"] == f"[::1]:{net.port}"
        transport.disconnect()
        await soon(transport.wait_disconnected())
