"""What both sides agree on, as our server sees it: allowed origins, and the subprotocol."""

from __future__ import annotations

import re

import pytest
from helpers import EchoListener, Recorder, request_bytes
from raw import TEXT, UPGRADE, Peer, complaints, exchange, lines, row, soon, upgraded

from picows_c import WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server

SITE = "https://example.com"


class Counting:
    """A factory that counts its calls."""

    def __init__(self, answer=EchoListener):
        self.count = 0
        self.answer = answer

    def __call__(self, request):
        self.count += 1
        return self.answer()


def status(first):
    return int(first.split(" ")[1])


# ---- origins ----

ORIGINS = [
    # allowed, Origin headers, status
    (None, [], 101),
    (None, [SITE], 101),
    (None, ["null"], 101),
    (None, [SITE, SITE], 400),
    ([], [SITE], 403),
    ([], [], 403),
    ([SITE], [SITE], 101),
    ([SITE], ["HTTPS://Example.COM"], 101),
    (["https://EXAMPLE.com"], [SITE], 101),
    ([SITE], [], 403),
    ([SITE], [""], 403),
    ([SITE], ["null"], 403),
    ([SITE], ["http://example.com"], 403),
    ([SITE], [SITE + ":8443"], 403),
    ([SITE], [SITE + ".evil.org"], 403),
    ([SITE], ["https://evil.org/" + SITE], 403),
    ([SITE], [f"{SITE} {SITE}"], 403),
    ([SITE], [f"{SITE}, {SITE}"], 403),
    ([SITE], [SITE, "https://evil.org"], 400),
    ([SITE], ["https://evil.org", SITE], 400),
    ([None], [], 101),
    ([None], [SITE], 403),
    ([None, SITE], [], 101),
    ([None, SITE], [SITE], 101),
    (["null"], ["null"], 101),
    (["null"], [], 403),
    (["https://a.org", SITE, "file://"], ["file://"], 101),
    ([re.compile(r"https://\w+\.example\.com")], ["https://a.example.com"], 101),
    # All of it has to match.
    ([re.compile(r"https://\w+\.example\.com")], ["https://a.example.com.evil.org"], 403),
    ([re.compile(r"https://\w+\.example\.com")], ["xhttps://a.example.com"], 403),
    ([re.compile(r".*")], [], 403),
    ((SITE,), [SITE], 101),
    ({SITE}, [SITE], 101),
]


async def test_origins(plain):
    for allowed, sent, expected in ORIGINS:
        factory = Counting()
        with row((allowed, sent)):
            async with plain.serve(factory, origins=allowed):
                request = lines(*UPGRADE, *(f"Origin: {origin}" for origin in sent))
                if expected == 101:
                    peer = await upgraded(plain, Origin=sent[0]) if sent else await upgraded(plain)
                    peer.send(TEXT, b"x")
                    await peer.expect(TEXT, b"x")
                    peer.abort()
                else:
                    first, headers, body = await exchange(plain, request)
                    assert status(first) == expected
                    assert headers["connection"] == "close"
                    assert b"example.com" not in body
                # An origin that is refused cannot make the application do anything.
                assert factory.count == (expected == 101)


async def test_origins_are_no_matter_of_other_requests(net):
    ok = WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"fine"), None)
    async with net.serve(lambda request: ok, origins=[SITE]):
        request = lines("Host: h", "Origin: https://evil.org", first="GET /health HTTP/1.1")
        first, _, body = await exchange(net, request)
        assert (status(first), body) == (200, b"fine")
        # An upgrade from there is one, whatever the path.
        first, _, _ = await exchange(net, request_bytes("/health", Origin="https://evil.org"))
        assert status(first) == 403


@pytest.mark.parametrize(
    "upgrade", ["websocket", "WebSocket", "h2c, websocket", "h2c,\twEBSOCKET ,x"]
)
async def test_no_way_of_asking_gets_past_the_origins(plain, upgrade):
    factory = Counting()
    async with plain.serve(factory, origins=[SITE]):
        request = request_bytes(Upgrade=upgrade, Origin="https://evil.org")
        first, _, _ = await exchange(plain, request)
    assert (status(first), factory.count) == (403, 0)


async def test_an_origin_that_is_refused_is_no_complaint(plain, caplog):
    async with plain.serve(Counting(), origins=[SITE]):
        await exchange(plain, request_bytes(Origin="https://evil.org"))
    assert complaints(caplog) == []


# ---- subprotocols ----

SUBPROTOCOLS = [
    # ours, the client's headers, the one that is agreed on
    (None, [], None),
    (None, ["chat"], None),
    ([], ["chat"], None),
    (["chat"], [], None),
    (["chat"], ["chat"], "chat"),
    (["chat"], ["Chat"], None),
    (["chat"], ["other, another"], None),
    # Our order counts, not the client's.
    (["a", "b"], ["b, a"], "a"),
    (["a", "b"], ["c,b"], "b"),
    (["a", "b"], ["c", "b", "a"], "a"),
    (("v2.chat",), ["v1.chat , v2.chat"], "v2.chat"),
    # RFC 9110, 5.6.1.2: empty elements do not count, and an empty field is no field.
    (["chat"], [", chat,,"], "chat"),
    (["chat"], [""], None),
    (["chat"], ["", "chat"], "chat"),
    (lambda request, offered: offered[-1], ["a, b", "c"], "c"),
    (lambda request, offered: None, ["a"], None),
    (lambda request, offered: request.headers["X-Want"], ["a, b"], "b"),
]


async def test_subprotocols(net):
    for ours, headers, agreed in SUBPROTOCOLS:
        listener = Recorder()
        with row((ours, headers)):
            async with net.serve(lambda request, recorder=listener: recorder, subprotocols=ours):
                fields = [f"Sec-WebSocket-Protocol: {value}" for value in headers]
                peer = await ask(net, *fields, "X-Want: b")
                assert peer.head[0] == "HTTP/1.1 101 Switching Protocols"
                assert peer.head[1].get("sec-websocket-protocol") == agreed
                await soon(listener.connected.wait())
                assert listener.transport.subprotocol == agreed
                peer.abort()
                await soon(listener.disconnected.wait())


async def ask(net, *fields):
    """Send an upgrade request with more fields, read the head of the answer."""
    peer = Peer(*await soon(net.open()), is_client=True)
    peer.write(lines(*UPGRADE, *fields))
    await peer.read_head()
    return peer


async def test_subprotocol_is_known_in_on_ws_connected(plain):
    seen = []

    class Listener(EchoListener):
        def on_ws_connected(self, transport):
            seen.append(transport.subprotocol)

    async with plain.serve(lambda request: Listener(), subprotocols=["chat"]):
        peer = await upgraded(plain, Sec_WebSocket_Protocol="chat")
        peer.abort()
    assert seen == ["chat"]


async def test_nobody_is_asked_where_nothing_is_offered(plain):
    def choose(request, offered):
        raise AssertionError("asked")

    async with plain.serve(lambda request: EchoListener(), subprotocols=choose):
        peer = await upgraded(plain)
        assert "sec-websocket-protocol" not in peer.head[1]
        peer.abort()


async def test_choice_cannot_change_what_was_offered(plain):
    def choose(request, offered):
        offered.append("mine")
        return "mine"

    async with plain.serve(lambda request: EchoListener(), subprotocols=choose):
        first, _, _ = await exchange(plain, request_bytes(Sec_WebSocket_Protocol="theirs"))
        assert status(first) == 500


BROKEN = [
    ",",
    " , ,",
    "a b",
    "a, b c",
    "a, a",
    "a,b,a",
    'a="b"',
    "a;b",
    "\x80",
    "a, (b)",
    "a/b",
]


@pytest.mark.parametrize("ours", [None, ["a"]], ids=["none of ours", "one of ours"])
async def test_broken_offers_are_refused(plain, ours):
    for value in BROKEN:
        factory = Counting()
        with row(value):
            async with plain.serve(factory, subprotocols=ours):
                request = request_bytes(Sec_WebSocket_Protocol=value)
                first, _, body = await exchange(plain, request)
                assert first == "HTTP/1.1 400 Bad Request"
                assert body.startswith(b"Sec-WebSocket-Protocol ")
                assert factory.count == 0


async def test_the_same_one_in_two_headers_is_refused(plain):
    async with plain.serve(lambda request: EchoListener()):
        fields = ["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b, a"]
        first, _, _ = await exchange(plain, lines(*UPGRADE, *fields))
        assert status(first) == 400


def answering(*subprotocols):
    """A factory whose own response names subprotocols."""
    headers = [("Sec-WebSocket-Protocol", name) for name in subprotocols]

    def factory(request):
        response = WSUpgradeResponse.create_101_response(headers)
        return WSUpgradeResponseWithListener(response, EchoListener())

    return factory


async def test_response_of_the_user_has_the_last_word(net):
    for ours in (None, ["a", "b"], lambda request, offered: "a"):
        async with net.serve(answering("b"), subprotocols=ours):
            peer = await upgraded(net, Sec_WebSocket_Protocol="a, b")
            assert peer.head[1]["sec-websocket-protocol"] == "b"
            peer.abort()


async def test_response_object_is_not_changed_by_what_is_agreed(plain):
    response = WSUpgradeResponse.create_101_response({"X": "y"})
    answer = lambda request: WSUpgradeResponseWithListener(response, EchoListener())  # noqa: E731
    async with plain.serve(answer, subprotocols=["a", "b"]):
        for offered in ("a", "b"):
            peer = await upgraded(plain, Sec_WebSocket_Protocol=offered)
            assert peer.head[1]["sec-websocket-protocol"] == offered
            peer.abort()
    assert "Sec-WebSocket-Protocol" not in response.headers


WRONG = [
    # the factory's response names, subprotocols=, the client's offer
    (["x"], None, "a"),
    (["x"], None, None),
    (["x"], ["a"], "a"),
    ([""], None, "a"),
    (["a", "b"], None, "a, b"),
    (["a, b"], None, "a, b"),
    ([], lambda request, offered: "x", "a"),
    ([], lambda request, offered: "", "a"),
    ([], lambda request, offered: 5, "a"),
    ([], lambda request, offered: offered, "a"),
    ([], lambda request, offered: 1 / 0, "a"),
    ([], lambda: None, "a"),
]


async def test_wrong_choices_of_the_user_are_logged(plain, caplog):
    for named, ours, offer in WRONG:
        caplog.clear()
        offered = {} if offer is None else {"Sec_WebSocket_Protocol": offer}
        with row((named, ours, offer)):
            async with plain.serve(answering(*named), subprotocols=ours):
                first, headers, body = await exchange(plain, request_bytes(**offered))
                assert first == "HTTP/1.1 500 Internal Server Error"
                assert body == b""
                assert "sec-websocket-protocol" not in headers
            (record,) = complaints(caplog)
            assert record.exc_info[0] in (ValueError, ZeroDivisionError, TypeError)


# ---- arguments ----

PATTERN_OF_BYTES = re.compile(b"x")

ARGUMENTS = [
    (TypeError, "origins must be a sequence, not str", {"origins": SITE}),
    (TypeError, "origins must be a sequence, not bytes", {"origins": b"x"}),
    (TypeError, "origins must be a sequence, not int", {"origins": 5}),
    (TypeError, "origins must hold str", {"origins": [5]}),
    (TypeError, "origins must hold str", {"origins": [SITE.encode()]}),
    (TypeError, "pattern", {"origins": [PATTERN_OF_BYTES]}),
    (ValueError, "an origin is", {"origins": [""]}),
    (ValueError, "an origin is", {"origins": ["*"]}),
    (ValueError, "an origin is", {"origins": ["example.com"]}),
    (ValueError, "an origin is", {"origins": [SITE + "/"]}),
    (ValueError, "an origin is", {"origins": [SITE + "/path"]}),
    (ValueError, "an origin is", {"origins": [SITE + "\r\nX: y"]}),
    (ValueError, "an origin is", {"origins": [SITE + "\n"]}),
    (ValueError, "an origin is", {"origins": [SITE + "\0"]}),
    (ValueError, "an origin is", {"origins": [SITE, "https://b\xe9.org"]}),
    (ValueError, "an origin is", {"origins": ["https://user@example.com"]}),
    (TypeError, "subprotocols must be a sequence, not str", {"subprotocols": "chat"}),
    (TypeError, "subprotocols must be a sequence, not bytes", {"subprotocols": b"chat"}),
    (TypeError, "subprotocols must be a sequence, not int", {"subprotocols": 5}),
    (
        TypeError,
        "subprotocols must be a sequence, not set",
        {"subprotocols": {"chat", "superchat"}},
    ),
    (TypeError, "subprotocols must hold str", {"subprotocols": [b"chat"]}),
    (TypeError, "subprotocols must hold str", {"subprotocols": [None]}),
    (ValueError, "subprotocols must be tokens", {"subprotocols": [""]}),
    (ValueError, "subprotocols must be tokens", {"subprotocols": ["a b"]}),
    (ValueError, "subprotocols must be tokens", {"subprotocols": ["a,b"]}),
    (ValueError, "subprotocols must be tokens", {"subprotocols": ["a\r\nX: y"]}),
    (ValueError, "subprotocols must be tokens", {"subprotocols": ["a\n"]}),
    (ValueError, "subprotocols must be tokens", {"subprotocols": ["a\0"]}),
    (ValueError, "subprotocols must be tokens", {"subprotocols": ["\xe9"]}),
    (ValueError, "subprotocols must be unique", {"subprotocols": ["a", "b", "a"]}),
]


async def test_wrong_arguments(way):
    for error, match, arguments in ARGUMENTS:
        with row(arguments), pytest.raises(error, match=match):
            await ws_create_server(EchoListener, "127.0.0.1", 0, transport=way, **arguments)
