"""Sec-WebSocket-Extensions: its grammar (RFC 6455, 9.1), and what becomes of broken ones."""

from __future__ import annotations

import asyncio

import pytest
from helpers import EchoListener, request_bytes
from raw import UPGRADE, Never, RawServer, exchange, lines, row, soon

from picows_c import WSHandshakeError, WSInvalidHeaderError, WSListener, ws_connect
from picows_c.extensions import parse_extensions

NAME = "Sec-WebSocket-Extensions"

GOOD = [
    # headers, what they say
    ([], []),
    (["a"], [("a", ())]),
    (["a;b"], [("a", (("b", None),))]),
    (["a; b=1; c"], [("a", (("b", "1"), ("c", None)))]),
    ([" a\t;\tb = 1 ,\tc "], [("a", (("b", "1"),)), ("c", ())]),
    (["a", "b; x, a"], [("a", ()), ("b", (("x", None),)), ("a", ())]),
    ([",a,, ,b,"], [("a", ()), ("b", ())]),
    (["", "a"], [("a", ())]),
    # An empty field is no field.
    ([""], []),
    (["", ""], []),
    (['a; b="1"'], [("a", (("b", "1"),))]),
    (['a; b="x\\y\\1"'], [("a", (("b", "xy1"),))]),
    (["a; b; b=2; b"], [("a", (("b", None), ("b", "2"), ("b", None)))]),
    (["!#$%&'*+-.^_`|~0aZ"], [("!#$%&'*+-.^_`|~0aZ", ())]),
]

BROKEN = [
    ",",
    " , ,",
    ";",
    ";a",
    "a;",
    "a;;b",
    "a; ;b",
    "a b",
    "a; b c",
    "a=1",
    "a; =1",
    "a; b=",
    "a; b==1",
    "a; b=1=2",
    "a; b=1 2",
    'a; b=""',
    'a; b="1',
    'a; b=1"',
    'a; b="1"2',
    'a; b="1 2"',
    'a; b="1\\"',
    'a; b="1\\\\"',
    'a; b="\\""',
    'a; "b"',
    '"a"',
    "a; b='1;2'; c(d)",
    "a/b",
    "a; b=\x80",
    "\xe9",
    # No offer may come from inside a string.
    'a; b="c,permessage-deflate;client_max_window_bits=9,d"',
    'a; b="1;c=2"',
]


def test_grammar():
    for values, expected in GOOD:
        with row(values):
            assert parse_extensions(values) == expected


def test_broken_grammar():
    for value in BROKEN:
        with row(value), pytest.raises(ValueError, match="extension"):
            parse_extensions([value])
        if value.strip(" ,"):
            with row(value), pytest.raises(ValueError, match="extension"):
                parse_extensions(["a", value])


def test_a_long_header_takes_no_long_time():
    """Each character is looked at a bounded number of times."""
    for value in ('a; b="' + "\\1" * 50_000, "a; b=" + "1" * 100_000 + '"', "a" + " ;" * 50_000):
        with pytest.raises(ValueError, match="parameter"):
            parse_extensions([value])


async def test_server_refuses_broken_headers(plain):
    for compression in (False, True):
        options = {"assemble_messages": True, "compression": compression}
        async with plain.serve(Never(), **options):
            for value in BROKEN:
                with row((compression, value)):
                    request = request_bytes(Sec_WebSocket_Extensions=value)
                    first, _, body = await exchange(plain, request)
                    assert first == "HTTP/1.1 400 Bad Request"
                    assert body.startswith(NAME.encode())


async def test_server_looks_at_all_headers(plain):
    async with plain.serve(lambda request: EchoListener()):
        first, _, _ = await exchange(plain, lines(*UPGRADE, f"{NAME}: a", f"{NAME}: b;"))
        assert first == "HTTP/1.1 400 Bad Request"


async def test_client_refuses_broken_headers(plain):
    offers = [
        {"assemble_messages": True, "compression": True},
        {"extensions": ["a; b=1"]},
        {},
    ]
    for options in offers:
        for value in BROKEN:
            with row((options, value)):
                async with RawServer(plain) as server:
                    connecting = asyncio.ensure_future(plain.connect(Never(), **options))
                    await server.upgrade(Sec_WebSocket_Extensions=value)
                    with pytest.raises(WSInvalidHeaderError, match="choice of extensions") as info:
                        await soon(connecting)
                    assert info.value.name == NAME


async def test_client_sends_no_broken_headers(way):
    for value in BROKEN:
        with row(value), pytest.raises(ValueError, match="extensions must"):
            await ws_connect(WSListener, "ws://h/", extensions=[value], transport=way)


# Of extensions=: what is raised, and what it names.
NO_OFFERS = [
    (TypeError, "extensions must be a sequence, not str", "x-own"),
    (TypeError, "extensions must be a sequence, not NoneType", None),
    (TypeError, "extensions must be a sequence, not set", {"x-own"}),
    (TypeError, "extensions must hold str, not bytes", ["x-own", b"x-own"]),
    (ValueError, "one offer in each str: ''", [""]),
    (ValueError, "one offer in each str: 'a, b'", ["a, b"]),
    (ValueError, "one offer in each str: 'a,'", ["a,"]),
    (ValueError, "use compression=", ["x-own", "permessage-deflate; client_max_window_bits"]),
]


async def test_offers_are_checked(way):
    for error, match, extensions in NO_OFFERS:
        with row(extensions), pytest.raises(error, match=match):
            await ws_connect(WSListener, "ws://h/", extensions=extensions, transport=way)


async def test_offers_go_out_in_their_order(plain):
    for extensions, expected in (
        (["x-one; p=1", "\tx-two "], "x-one; p=1, x-two"),
        (("x-one",), "x-one"),
        ((), None),
    ):
        with row(extensions):
            async with RawServer(plain) as server:
                connecting = asyncio.ensure_future(plain.connect(Never(), extensions=extensions))
                peer = await server.accept()
                await peer.read_head()
                assert peer.head[1].get(NAME.lower()) == expected
                peer.abort()
                with pytest.raises(WSHandshakeError):
                    await soon(connecting)
