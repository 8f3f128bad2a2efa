"""permessage-deflate: what is agreed on (RFC 7692, 7.1), and the compressors that many share."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import importlib.util
import pickle
import random
import sys
import types
import zlib

import pytest
from helpers import EchoListener, Recorder
from raw import BINARY, PING, PONG, UPGRADE, Never, Peer, RawServer, complaints, lines, row, soon

from picows_c import (
    PermessageDeflate,
    WSInvalidHeaderError,
    WSListener,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    _core,
    ws_connect,
    ws_create_server,
)
from picows_c.deflate import check_answer, choose_offer, make_deflate, make_offer
from picows_c.extensions import parse_extensions

NAME = "Sec-WebSocket-Extensions"
D = "permessage-deflate"
SNC, CNC = "server_no_context_takeover", "client_no_context_takeover"
SB, CB = "server_max_window_bits", "client_max_window_bits"

OPEN = {SB: None, CB: None}


def terms(agreed):
    """What was agreed on: our window, the peer's, and who takes over contexts."""
    return (
        agreed.out_window_bits,
        agreed.in_window_bits,
        agreed.out_takeover,
        agreed.in_takeover,
    )


# ---- the server's side: an offer and the answer to it ----

OFFERS = [
    # configuration, offer, answer, (our window, the client's, our takeover, the client's)
    ({}, D, D, (12, 15, True, True)),
    (OPEN, D, D, (15, 15, True, True)),
    # Chromium and Firefox
    ({}, f"{D}; {CB}", f"{D}; {CB}=12", (12, 12, True, True)),
    # websocket-sharp, which knows nothing of windows
    ({}, f"{D}; {SNC}; {CNC}", f"{D}; {SNC}; {CNC}", (12, 15, False, False)),
    # ours
    ({}, f"{D}; {SB}=12; {CB}=12, {D}; {CB}=12", f"{D}; {SB}=12; {CB}=12", (12, 12, True, True)),
    (OPEN, f"{D}; {CB}", D, (15, 15, True, True)),
    # 7.1.1.1: server_no_context_takeover
    (OPEN, f"{D}; {SNC}", f"{D}; {SNC}", (15, 15, False, True)),
    ({**OPEN, SNC: True}, D, f"{D}; {SNC}", (15, 15, False, True)),
    ({**OPEN, SNC: True}, f"{D}; {SNC}", f"{D}; {SNC}", (15, 15, False, True)),
    (OPEN, f"{D}; {SNC}=1", None, None),
    (OPEN, f"{D}; {SNC}=true", None, None),
    (OPEN, f"{D}; {SNC}; {SNC}", None, None),
    # 7.1.1.2: client_no_context_takeover
    (OPEN, f"{D}; {CNC}", f"{D}; {CNC}", (15, 15, True, False)),
    ({**OPEN, CNC: True}, D, f"{D}; {CNC}", (15, 15, True, False)),
    (OPEN, f"{D}; {CNC}=0", None, None),
    (OPEN, f"{D}; {CNC}; {CNC}", None, None),
    (OPEN, f"{D}; {CNC}; {SNC}", f"{D}; {SNC}; {CNC}", (15, 15, False, False)),
    # 7.1.2.1: server_max_window_bits, the same or smaller in the answer
    *((OPEN, f"{D}; {SB}={n}", f"{D}; {SB}={n}", (n, 15, True, True)) for n in range(9, 16)),
    *(
        ({**OPEN, SB: n}, f"{D}; {SB}=12", f"{D}; {SB}={min(n, 12)}", (min(n, 12), 15, True, True))
        for n in range(9, 16)
    ),
    *(({**OPEN, SB: n}, D, D, (n, 15, True, True)) for n in range(9, 16)),
    (OPEN, f'{D}; {SB}="10"', f"{D}; {SB}=10", (10, 15, True, True)),
    (OPEN, f'{D}; {SB}="1\\0"', f"{D}; {SB}=10", (10, 15, True, True)),
    # which zlib cannot do
    (OPEN, f"{D}; {SB}=8", None, None),
    *(
        (config, f"{D}; {name}={value}", None, None)
        for config in ({}, OPEN)
        for name in (SB, CB)
        for value in ("7", "16", "0", "010", "08", "1", "150", "-9", "+9", "9.0", "x", "1_0", "0xA")
    ),
    (OPEN, f"{D}; {SB}", None, None),
    (OPEN, f"{D}; {SB}=10; {SB}=10", None, None),
    (OPEN, f"{D}; {SB}=10; {SB}=11", None, None),
    # 7.1.2.2: client_max_window_bits, only where it was offered
    *(({**OPEN, CB: n}, f"{D}; {CB}", f"{D}; {CB}={n}", (15, n, True, True)) for n in range(9, 16)),
    *(
        (
            {**OPEN, CB: 12},
            f"{D}; {CB}={n}",
            f"{D}; {CB}={min(n, 12)}",
            (15, min(n, 12), True, True),
        )
        for n in range(8, 16)
    ),
    ({**OPEN, CB: 12}, D, D, (15, 15, True, True)),
    (OPEN, f"{D}; {CB}=9", D, (15, 15, True, True)),
    (OPEN, f"{D}; {CB}; {CB}=10", None, None),
    (OPEN, f"{D}; {CB}; {CB}", None, None),
    # everything at once, in any order
    (
        {},
        f"{D}; {CB}=10; {SB}=11; {CNC}; {SNC}",
        f"{D}; {SNC}; {CNC}; {SB}=11; {CB}=10",
        (11, 10, False, False),
    ),
    # 7: parameters that are not defined
    (OPEN, f"{D}; x", None, None),
    (OPEN, f"{D}; mux=1", None, None),
    (OPEN, f"{D}; {SNC.upper()}", None, None),
    (OPEN, f"{D}; {SNC}; max_window_bits=10", None, None),
    # 5: several offers, in order of preference
    (OPEN, f"{D}; x, {D}", D, (15, 15, True, True)),
    (OPEN, f"{D}; {SB}=8, {D}; {SNC}, {D}", f"{D}; {SNC}", (15, 15, False, True)),
    (OPEN, f"{D}; {SB}=10, {D}", f"{D}; {SB}=10", (10, 15, True, True)),
    (OPEN, f"x-other; a=1, {D}; {SNC}", f"{D}; {SNC}", (15, 15, False, True)),
    (OPEN, f"{D}; {SB}, {D}; {CB}=16", None, None),
    # other extensions, or none
    (OPEN, "x-other", None, None),
    (OPEN, "x-webkit-deflate-frame, permessage-bzip2", None, None),
    (OPEN, D.upper(), None, None),
    (OPEN, None, None, None),
]


def test_offers():
    for fields, offer, answer, agreed in OFFERS:
        with row((fields, offer)):
            offers = parse_extensions([] if offer is None else [offer])
            chosen = choose_offer(PermessageDeflate(**fields), offers)
            if answer is None:
                assert chosen is None
            else:
                assert chosen is not None
                assert (chosen[0], terms(chosen[1])) == (answer, agreed)


# ---- the client's side: what it offers, and what it makes of the answer ----

MADE = [
    ({}, f"{D}; {SB}=12; {CB}=12, {D}; {CB}=12"),
    ({CB: None}, f"{D}; {SB}=12, {D}"),
    ({SNC: True}, f"{D}; {SNC}; {SB}=12; {CB}=12, {D}; {SNC}; {CB}=12"),
    # what the user wrote is a condition, also where it is what would be there anyway
    ({SB: 12}, f"{D}; {SB}=12; {CB}=12"),
    ({SB: 12, CB: None}, f"{D}; {SB}=12"),
    (OPEN, D),
    ({**OPEN, SNC: True}, f"{D}; {SNC}"),
    ({**OPEN, CNC: True}, f"{D}; {CNC}"),
    ({**OPEN, SB: 9}, f"{D}; {SB}=9"),
    ({**OPEN, CB: 15}, f"{D}; {CB}=15"),
    ({**OPEN, SB: 15}, D),
    ({SNC: True, CNC: True, SB: 10, CB: 11}, f"{D}; {SNC}; {CNC}; {SB}=10; {CB}=11"),
]

ANSWERS = [
    # configuration, answer, (our window, the server's, our takeover, the server's), or the error
    ({}, None, None),
    (OPEN, D, (15, 15, True, True)),
    ({}, f"{D}; {SB}=12", (12, 12, True, True)),
    # our own limit of the server's window is a wish
    ({}, D, (12, 15, True, True)),
    *(({}, f"{D}; {SB}={n}", (12, n, True, True)) for n in range(8, 16)),
    ({}, f"{D}; {SNC}; {CNC}", (12, 15, False, False)),
    ({}, f"{D}; {SB}=12; {CB}=8", (8, 12, True, True)),
    ({}, f'{D}; {SB}="12"; {CB}="12"', (12, 12, True, True)),
    ({}, f"{D}; {CB}=10", (10, 15, True, True)),
    ({CB: None}, D, (15, 15, True, True)),
    ({CB: None}, f"{D}; {CB}=15", f"{CB} was not offered"),
    ({SNC: True}, f"{D}; {SNC}", (12, 15, True, False)),
    ({SNC: True}, D, f"{SNC} was offered"),
    # ... and what the user wrote is a condition
    ({SB: 12}, D, f"{SB}=12 was offered"),
    ({SB: 12}, f"{D}; {SB}=13", f"{SB}=12 was offered"),
    ({SB: 12}, f"{D}; {SB}=12", (12, 12, True, True)),
    # 7.1.1.1: server_no_context_takeover, which may come unasked
    (OPEN, f"{D}; {SNC}", (15, 15, True, False)),
    ({**OPEN, SNC: True}, f"{D}; {SNC}", (15, 15, True, False)),
    ({**OPEN, SNC: True}, D, f"{SNC} was offered"),
    (OPEN, f"{D}; {SNC}=1", f"{SNC} with the value '1'"),
    (OPEN, f"{D}; {SNC}; {SNC}", f"{SNC} is there twice"),
    # 7.1.1.2: client_no_context_takeover, the same; and to offer it is a promise
    (OPEN, f"{D}; {CNC}", (15, 15, False, True)),
    ({**OPEN, CNC: True}, f"{D}; {CNC}", (15, 15, False, True)),
    ({**OPEN, CNC: True}, D, (15, 15, False, True)),
    (OPEN, f"{D}; {CNC}=1", f"{CNC} with the value"),
    (OPEN, f"{D}; {CNC}; {CNC}", "twice"),
    # 7.1.2.1: server_max_window_bits, as offered or smaller, or unasked
    *((OPEN, f"{D}; {SB}={n}", (15, n, True, True)) for n in range(8, 16)),
    *(({**OPEN, SB: 12}, f"{D}; {SB}={n}", (15, n, True, True)) for n in range(8, 13)),
    *(({**OPEN, SB: 12}, f"{D}; {SB}={n}", f"{SB}=12 was offered") for n in range(13, 16)),
    ({**OPEN, SB: 12}, D, f"{SB}=12 was offered"),
    ({**OPEN, SB: 15}, D, (15, 15, True, True)),
    ({**OPEN, SB: 15}, f"{D}; {SB}=15", (15, 15, True, True)),
    (OPEN, f'{D}; {SB}="10"', (15, 10, True, True)),
    (OPEN, f"{D}; {SB}", f"{SB} with the value None"),
    (OPEN, f"{D}; {SB}=10; {SB}=10", "twice"),
    # 7.1.2.2: client_max_window_bits, only where it was offered, and never without a value
    *(({**OPEN, CB: 12}, f"{D}; {CB}={n}", (min(n, 12), 15, True, True)) for n in range(8, 16)),
    ({**OPEN, CB: 12}, D, (12, 15, True, True)),
    ({**OPEN, CB: 12}, f"{D}; {CB}", f"{CB} with the value None"),
    ({**OPEN, CB: 12}, f"{D}; {CB}=10; {CB}=10", "twice"),
    *((OPEN, f"{D}; {CB}={n}", f"{CB} was not offered") for n in (8, 12, 15)),
    (OPEN, f"{D}; {CB}", f"{CB} with the value None"),
    *(
        (fields, f"{D}; {name}={value}", f"{name} with the value")
        for fields in ({}, OPEN)
        for name in (SB, CB)
        for value in ("7", "16", "0", "010", "08", "1", "150", "-9", "+9", "9.0", "x", "1_0", "0xA")
    ),
    # everything at once
    ({}, f"{D}; {CB}=10; {SB}=11; {CNC}; {SNC}", (10, 11, False, False)),
    # 7: parameters that are not defined
    (OPEN, f"{D}; x", "unknown parameter x"),
    (OPEN, f"{D}; {SNC.upper()}", "unknown parameter"),
    # what was not offered, or once only
    (OPEN, f"{D}, {D}", "the only extension"),
    (OPEN, f"{D}; {SNC}, {D}; {CNC}", "the only extension"),
    (OPEN, "x-other", "the only extension"),
    (OPEN, f"{D}, x-other", "the only extension"),
    (OPEN, f"x-other, {D}", "the only extension"),
    (OPEN, D.upper(), "the only extension"),
]


def test_what_is_offered():
    for fields, offer in MADE:
        with row(fields):
            assert make_offer(PermessageDeflate(**fields)) == offer


def test_answers():
    for fields, answer, expected in ANSWERS:
        with row((fields, answer)):
            config = PermessageDeflate(**fields)
            got = parse_extensions([] if answer is None else [answer])
            if isinstance(expected, str):
                with pytest.raises(ValueError, match=expected):
                    check_answer(config, got)
            elif expected is None:
                assert check_answer(config, got) is None
            else:
                assert terms(check_answer(config, got)) == expected


def test_both_sides_understand_each_other():
    """Whatever they want: each ends up with what the other does."""
    rng = random.Random(7692)

    def anything():
        bits = [None, *range(9, 16)]
        return PermessageDeflate(
            server_max_window_bits=rng.choice(bits),
            client_max_window_bits=rng.choice(bits),
            server_no_context_takeover=rng.random() < 0.5,
            client_no_context_takeover=rng.random() < 0.5,
        )

    for number in range(2000):
        client = anything() if number % 3 else PermessageDeflate()
        server = anything()
        with row((client, server)):
            answer, ours = choose_offer(server, parse_extensions([make_offer(client)]))
            theirs = check_answer(client, parse_extensions([answer]))
            assert ours.out_window_bits <= theirs.in_window_bits
            assert ours.in_window_bits >= theirs.out_window_bits
            assert ours.out_takeover == theirs.in_takeover
            assert ours.in_takeover == theirs.out_takeover


# ---- over sockets ----


@pytest.fixture
def deflates(monkeypatch):
    """The arguments of each _core.Deflate that is made."""
    real = getattr(_core, "Deflate", None)
    made = []

    def make(*arguments):
        made.append(arguments)
        return object() if real is None else real(*arguments)

    monkeypatch.setattr(_core, "Deflate", make, raising=False)
    return made


def in_bits(arguments):
    """Return the window of the decompressors in the arguments of a _core.Deflate."""
    return -arguments[1].args[0]


@contextlib.asynccontextmanager
async def asking(net, *fields):
    """Send an upgrade request with more fields, read the head of the answer."""
    peer = Peer(*await soon(net.open()), is_client=True)
    try:
        peer.write(lines(*UPGRADE, *fields))
        await peer.read_head()
        yield peer
    finally:
        peer.abort()


async def test_server_answers_offers(plain, deflates):
    rows = [OFFERS[i] for i in (0, 2, 4, 6, 15, 28)] + OFFERS[-12:]
    for fields, offer, answer, agreed in rows:
        deflates.clear()
        config = PermessageDeflate(**fields)
        options = {"assemble_messages": True, "compression": config}
        with row((fields, offer)):
            async with plain.serve(lambda request: EchoListener(), **options):
                # In one header or in several, that is the same.
                for headers in ([offer], (offer or "").split(", ")):
                    sent = [f"{NAME}: {value}" for value in headers if value]
                    async with asking(plain, *sent) as peer:
                        assert peer.head[0] == "HTTP/1.1 101 Switching Protocols"
                        assert peer.head[1].get(NAME.lower()) == answer
            if answer is None:
                assert deflates == []
            else:
                (arguments, again) = deflates
                assert arguments[2:] == again[2:]
                assert in_bits(arguments) == agreed[1]
                pool, *others = arguments[3:]
                assert (pool is None, *others) == (agreed[2], not agreed[3], 64)


async def test_server_without_compression_answers_nothing(plain, deflates):
    for options in ({}, {"assemble_messages": True}):
        serving = plain.serve(lambda request: EchoListener(), **options)
        async with serving, asking(plain, f"{NAME}: {D}") as peer:
            assert peer.head[0] == "HTTP/1.1 101 Switching Protocols"
            assert NAME.lower() not in peer.head[1]
    assert deflates == []


@pytest.mark.parametrize("own", ["x-own", D, f"{D}; {SNC}"])
async def test_response_of_the_user_has_the_last_word(plain, deflates, own):
    listener = Recorder()
    response = WSUpgradeResponse.create_101_response({NAME: own})
    answer = WSUpgradeResponseWithListener(response, listener)
    options = {"assemble_messages": True, "compression": True}
    serving = plain.serve(lambda request: answer, **options)
    async with serving, asking(plain, f"{NAME}: {D}; {CB}, x-own") as peer:
        assert peer.head[1][NAME.lower()] == own
        # The RSV bits are the user's.
        peer.send(PING, b"x", rsv=0b100)
        assert (await peer.next()).opcode == PONG
    assert deflates == []


async def test_response_object_is_not_changed_by_what_is_agreed(plain, deflates):
    response = WSUpgradeResponse.create_101_response({"X": "y"})
    answer = lambda request: WSUpgradeResponseWithListener(response, EchoListener())  # noqa: E731
    options = {"assemble_messages": True, "compression": True}
    async with plain.serve(answer, **options):
        for offer, agreed in ((f"{D}; {SB}=9", f"{D}; {SB}=9"), (f"{D}; {SB}=14", f"{D}; {SB}=12")):
            async with asking(plain, f"{NAME}: {offer}") as peer:
                assert peer.head[1][NAME.lower()] == agreed
    assert NAME not in response.headers


async def test_no_compression_where_there_is_no_upgrade(plain, deflates):
    options = {"assemble_messages": True, "compression": True}
    serving = plain.serve(lambda request: None, **options)
    async with serving, asking(plain, f"{NAME}: {D}") as peer:
        assert peer.head[0] == "HTTP/1.1 404 Not Found"
        assert NAME.lower() not in peer.head[1]
    assert deflates == []


async def test_client_takes_answers(plain, deflates):
    rows = [ANSWERS[i] for i in (0, 1, 2, 3, 5, 9)] + ANSWERS[-9:]
    for fields, answer, expected in rows:
        deflates.clear()
        config = PermessageDeflate(**fields)
        listener = Recorder()
        with row((fields, answer)):
            async with RawServer(plain) as server:
                options = {"assemble_messages": True, "compression": config}
                connecting = asyncio.ensure_future(plain.connect(lambda: listener, **options))  # noqa: B023
                sent = {} if answer is None else {"Sec_WebSocket_Extensions": answer}
                peer = await server.upgrade(**sent)
                assert peer.head[1][NAME.lower()] == make_offer(config)
                if isinstance(expected, str):
                    with pytest.raises(WSInvalidHeaderError, match=expected) as info:
                        await soon(connecting)
                    assert (info.value.name, info.value.value) == (NAME, answer)
                    assert listener.events == []
                else:
                    await soon(connecting)
                    assert listener.transport.response.headers.get(NAME) == answer
                    peer.abort()
                    await soon(listener.disconnected.wait())
            if isinstance(expected, tuple):
                (arguments,) = deflates
                assert in_bits(arguments) == expected[1]
                pool, *others = arguments[3:]
                assert (pool is None, *others) == (expected[2], not expected[3], 64)
            else:
                assert deflates == []


# What servers say to an offer with a window that they do not know: gorilla, Jetty and Netty, or one
# that uses the largest anyway.
LENIENT = [D, f"{D}; {SNC}; {CNC}", f"{D}; {SB}=15", f"{D}; {CB}=15"]


async def test_a_server_may_use_the_largest_window_by_default(net):
    rng = random.Random(15)
    message = rng.randbytes(30_000) * 2  # the second half refers 30,000 bytes back
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(data) < 31_000
    async with RawServer(net) as server:
        for answer in LENIENT:
            with row(answer):
                listener = Recorder()
                options = {"assemble_messages": True, "compression": True}
                connecting = asyncio.ensure_future(net.connect(lambda: listener, **options))  # noqa: B023
                peer = await server.upgrade(Sec_WebSocket_Extensions=answer)
                transport, _ = await soon(connecting)
                peer.send(BINARY, data, rsv=0b100)
                assert bytes(await soon(listener.frames.get())) == message
                transport.disconnect(False)
                await soon(transport.wait_disconnected())


@pytest.mark.parametrize("role", ["server", "client"])
async def test_the_other_rsv_bits_stay_forbidden(plain, deflates, role):
    listener = Recorder()
    options = {"assemble_messages": True, "compression": True}
    for rsv in (0b010, 0b001):
        listener = Recorder()
        async with contextlib.AsyncExitStack() as stack:
            if role == "server":
                serving = plain.serve(lambda request: listener, **options)  # noqa: B023
                await stack.enter_async_context(serving)
                peer = await stack.enter_async_context(asking(plain, f"{NAME}: {D}"))
            else:
                server = await stack.enter_async_context(RawServer(plain))
                connecting = asyncio.ensure_future(plain.connect(lambda: listener, **options))  # noqa: B023
                peer = await server.upgrade(Sec_WebSocket_Extensions=f"{D}; {SB}=12")
                await soon(connecting)
            assert len(deflates) == 1
            deflates.clear()
            peer.send(PING, b"x", rsv=rsv)
            await peer.expect_close(1002)
            peer.abort()
            await soon(listener.disconnected.wait())


async def test_offer_goes_along_with_a_redirect(plain, deflates, caplog):
    async with RawServer(plain) as server:
        options = {"assemble_messages": True, "compression": True}
        connecting = asyncio.ensure_future(plain.connect(EchoListener, **options))
        peer = await server.accept()
        await peer.read_head()
        location = f"Location: ws://localhost:{plain.port}/there"
        peer.write(lines(location, "Content-Length: 0", first="HTTP/1.1 302 Found"))
        peer = await server.upgrade(Sec_WebSocket_Extensions=f"{D}; {SB}=12")
        assert peer.head[1][NAME.lower()] == f"{D}; {SB}=12; {CB}=12, {D}; {CB}=12"
        transport, _ = await soon(connecting)
        peer.abort()
        with contextlib.suppress(ConnectionError):
            await soon(transport.wait_disconnected())
    assert complaints(caplog) == []


# ---- arguments ----

WRONG = [
    (ValueError, "mem_level must be 1 to 9, not 0", {"mem_level": 0}),
    (ValueError, "mem_level must be 1 to 9, not 10", {"mem_level": 10}),
    (TypeError, "mem_level must be int, not NoneType", {"mem_level": None}),
    *(
        (ValueError, f"{name} must be 9 to 15, not {value}", {name: value})
        for name in (SB, CB)
        for value in (-1, 0, 8, 16)
    ),
    *((TypeError, f"{name} must be int, not str", {name: "12"}) for name in (SB, CB)),
    (TypeError, "level must be int, not str", {"level": "6"}),
    (TypeError, "level must be int, not float", {"level": 6.0}),
    *((ValueError, f"has no level {n}", {"level": n}) for n in (-2, 10, 2**80)),
    (ValueError, "threshold must be 0 to", {"threshold": -1}),
    (ValueError, "threshold must be 0 to", {"threshold": sys.maxsize + 1}),
    (TypeError, "threshold must be int, not NoneType", {"threshold": None}),
    (TypeError, "lacks compressobj, decompressobj, DEFLATED", {"backend": None}),
    (TypeError, "lacks compressobj, decompressobj, DEFLATED", {"backend": random}),
    (
        TypeError,
        "lacks Z_FULL_FLUSH$",
        {"backend": types.SimpleNamespace(**{**vars(zlib), "Z_FULL_FLUSH": 0})},
    ),
]
del WRONG[-1][2]["backend"].Z_FULL_FLUSH


def test_wrong_fields():
    for error, match, fields in WRONG:
        with row(fields), pytest.raises(error, match=match):
            PermessageDeflate(**fields)


def test_right_fields():
    for level in (None, *range(-1, 10)):
        assert PermessageDeflate(level).level == level
    for mem_level in range(1, 10):
        for bits in (None, *range(9, 16)):
            config = PermessageDeflate(mem_level=mem_level, **{SB: bits, CB: bits})
            assert dataclasses.replace(config) == config
            assert hash(config) == hash(dataclasses.replace(config))
    # A number that is written is another thing than the same one by default, also in a copy.
    default = dataclasses.replace(PermessageDeflate(), level=1)
    assert make_offer(default) == make_offer(PermessageDeflate())
    assert PermessageDeflate(**{SB: 12}) != PermessageDeflate()
    assert repr(PermessageDeflate()) == repr(PermessageDeflate(**{SB: 12}))
    with pytest.raises(AttributeError):
        PermessageDeflate().level = 5
    assert PermessageDeflate(threshold=0) != PermessageDeflate()


ARGUMENTS = [
    (ValueError, "compression needs assemble_messages=True", {"compression": True}),
    (
        ValueError,
        "compression needs assemble_messages=True",
        {"compression": PermessageDeflate(), "assemble_messages": False},
    ),
    *(
        (TypeError, "compression must be bool or PermessageDeflate", {"compression": value})
        for value in (None, 1, "deflate", PermessageDeflate, {})
    ),
]


async def test_wrong_arguments(way):
    for error, match, arguments in ARGUMENTS:
        with row(arguments), pytest.raises(error, match=match):
            await ws_create_server(EchoListener, "127.0.0.1", 0, transport=way, **arguments)
        with row(arguments), pytest.raises(error, match=match):
            await ws_connect(WSListener, "ws://127.0.0.1:1/", transport=way, **arguments)


async def test_two_offers_contradict_each_other(plain):
    async with RawServer(plain) as server:
        options = {"assemble_messages": True, "compression": True, "extensions": ["x-own"]}
        with pytest.raises(ValueError, match="extensions and compression contradict"):
            await plain.connect(Never(), **options)
        assert server.count == 0


def test_what_compression_means():
    assert make_deflate(False) is None
    assert make_deflate(True) == PermessageDeflate()
    # All share their compressors.
    assert make_deflate(True) is make_deflate(True)
    config = PermessageDeflate(level=1)
    assert make_deflate(config) is config


# ---- backends ----

BACKENDS = ["zlib", "isal.isal_zlib", "zlib_ng.zlib_ng"]


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda config, protocol=protocol: pickle.loads(pickle.dumps(config, protocol))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_copies_and_pickles(need, again):
    backends = [zlib]
    if importlib.util.find_spec("isal"):
        backends.append(importlib.import_module("isal.isal_zlib"))
    for backend in backends:
        config = PermessageDeflate(
            level=1, server_max_window_bits=9, client_no_context_takeover=True, backend=backend
        )
        config._free[9] = [object()]
        made = again(config)
        assert made == config
        assert made.backend is backend
        assert repr(made) == repr(config)
        # Compressors belong to one object.
        assert made._free == {}
        assert again({"compression": config})["compression"] == config


def test_copies_of_other_backends():
    """One that is no module is copied as it is."""
    backend = types.SimpleNamespace(**vars(zlib))
    config = PermessageDeflate(backend=backend)
    assert copy.copy(config) == config


@pytest.fixture(params=BACKENDS)
def backend(request, need):
    try:
        module = importlib.import_module(request.param)
    except ImportError:
        module = None
    return need(request.param.split(".")[0].replace("_", "-"), module)


def levels(backend):
    return range(4) if "isal" in backend.__name__ else range(10)


class Side:
    """What the core does with its part, with no thought of speed."""

    def __init__(self, arguments):
        (self.make_compressor, self.make_decompressor, self.mode) = arguments[:3]
        (self.pool, self.resets_in, self.threshold) = arguments[3:]
        self.compressor = self.decompressor = None

    def compress(self, message):
        """Compress a message (RFC 7692, 7.2.1)."""
        if self.compressor is None:
            self.compressor = self.pool.pop() if self.pool else self.make_compressor()
        whole = self.compressor.compress(message) + self.compressor.flush(self.mode)
        if self.pool is not None:
            self.pool.append(self.compressor)
            self.compressor = None
        assert whole.endswith(b"\0\0\xff\xff")
        return whole[:-4]

    def decompress(self, data):
        """Decompress a message (7.2.2)."""
        if self.decompressor is None or self.resets_in:
            self.decompressor = self.make_decompressor(b"")
        return inflate(self.decompressor, data + b"\0\0\xff\xff")


def inflate(decompressor, data, step=1000):
    out = []
    while True:
        out.append(decompressor.decompress(data, step))
        assert len(out[-1]) <= step
        data = decompressor.unconsumed_tail
        if not data and len(out[-1]) < step:
            return b"".join(out)


def strictly(data, bits):
    """Inflate byte by byte: nothing but the window can be referred to."""
    return inflate(zlib.decompressobj(-bits), data + b"\0\0\xff\xff", 1)


def sides(deflates, client, server):
    """Let two sides agree, and return what they work with."""
    answer, ours = choose_offer(server, parse_extensions([make_offer(client)]))
    theirs = check_answer(client, parse_extensions([answer]))
    deflates.clear()
    theirs.make()
    ours.make()
    return [Side(arguments) for arguments in deflates]


def messages(rng):
    words = [rng.randbytes(rng.randrange(1, 12)) for _ in range(40)]
    for size in (0, 1, 2, 63, 64, 65, 1000, 5000, 40_000):
        yield b" ".join(rng.choices(words, k=size))[:size]
        yield rng.randbytes(size)
        yield bytes(size)
    # Whatever is far away in a window, or just outside of one.
    for bits in range(8, 16):
        for more in (-262, -1, 0, 1, 258):
            yield rng.randbytes(max(1, (1 << bits) + more)) * 2


@pytest.mark.parametrize("takeover", [True, False])
def test_windows_are_kept_to(backend, deflates, takeover):
    for level in (None, *levels(backend)):
        for bits in (9, 12, 15):
            fields = {SB: bits, CB: bits, SNC: not takeover, CNC: not takeover}
            config = PermessageDeflate(level=level, backend=backend, **fields)
            client, server = sides(deflates, config, config)
            inflating = zlib.decompressobj(-bits)
            for number, message in enumerate(messages(random.Random(level or 0))):
                with row((level, bits, number, len(message))):
                    sent = server.compress(message)
                    if not takeover:
                        inflating = zlib.decompressobj(-bits)
                    assert client.decompress(sent) == message
                    step = 1 if bits == 9 and len(message) < 3000 else 200
                    assert inflate(inflating, sent + b"\0\0\xff\xff", step) == message
                    assert server.decompress(client.compress(message)) == message


def test_a_peer_may_use_256_bytes(backend, deflates):
    """Which nobody here can write, but a compressor for 512 never refers further than 250."""
    config = PermessageDeflate(backend=backend)
    _, agreed = choose_offer(config, parse_extensions([f"{D}; {CB}=8"]))
    assert agreed.in_window_bits == 8
    agreed.make()
    side = Side(deflates[-1])
    rng = random.Random(8)
    for period in (1, 3, 100, 249, 250):
        compressor = zlib.compressobj(9, zlib.DEFLATED, -9)
        message = bytes(rng.choices(range(256), k=period)) * 4
        data = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
        side.decompressor = None
        assert side.decompress(data[:-4]) == message


def test_we_do_not_write_with_a_window_of_256_bytes(deflates):
    """Then messages stay uncompressed, which is always allowed (RFC 7692, 6)."""
    agreed = check_answer(PermessageDeflate(**OPEN | {CB: 12}), parse_extensions([f"{D}; {CB}=8"]))
    assert agreed.out_window_bits == 8
    agreed.make()
    assert Side(deflates[-1]).threshold == sys.maxsize


def test_levels_are_the_backends(backend):
    for level in levels(backend):
        PermessageDeflate(level=level, backend=backend)
    for level in (-2, levels(backend).stop):
        with pytest.raises(ValueError, match=f"has no level {level}"):
            PermessageDeflate(level=level, backend=backend)


def test_a_window_goes_to_the_next_decompressor(backend, deflates):
    """As where a message ends its deflate stream (7.2.3.4), and the next one goes on."""
    config = PermessageDeflate(backend=backend)
    client, server = sides(deflates, config, config)
    server.compress(b"one more word, and the same again")
    sent = server.compress(b"one more word, and the same again")
    assert len(sent) < 10
    decompressor = client.make_decompressor(b"one more word, and the same again")
    assert inflate(decompressor, sent) == b"one more word, and the same again"


# ---- shared compressors ----

SECRET = b"the password is 'correct horse battery staple', and nobody else knows it "
GUESS = b"the password is 'correct horse "


@pytest.fixture
def shared(backend, deflates):
    """Connections of one server that compress each message by itself."""
    config = PermessageDeflate(backend=backend, **{SNC: True, CNC: True})

    def connect(config=config):
        return sides(deflates, config, config)[1]

    connect.config = config
    return connect


def alone(config, message):
    """Compress with a compressor that nobody else has had."""
    fresh = dataclasses.replace(config)._new_compressor(12)
    return (fresh.compress(message) + fresh.flush(config.backend.Z_FULL_FLUSH))[:-4]


def test_compressors_are_shared(shared):
    one, other = shared(), shared()
    one.compress(SECRET)
    other.compress(SECRET)
    ((bits, free),) = shared.config._free.items()
    assert (bits, len(free)) == (12, 1)
    # With other parameters it is another one.
    shared(dataclasses.replace(shared.config, level=1)).compress(SECRET)
    assert len(free) == 1
    assert len(shared.config._free) == 1


def test_each_window_has_its_own_compressors(deflates):
    config = PermessageDeflate(**{SNC: True})
    for bits in (9, 15, 9, 15):
        client = dataclasses.replace(config, server_max_window_bits=bits)
        _, server = sides(deflates, client, dataclasses.replace(config, **OPEN))
        far = bytes(random.Random(1).choices(range(256), k=5000)) * 2
        assert strictly(server.compress(far), bits) == far


def test_no_message_can_be_read_through_another(shared):
    """Each is what a compressor makes of it that has seen nothing else; and it needs no window."""
    connections = [shared() for _ in range(5)]
    rng = random.Random(5)
    for _ in range(300):
        message = rng.choice([SECRET, SECRET * 3, GUESS, b"", b"x" * 20_000, SECRET[:9] * 999])
        sent = rng.choice(connections).compress(message)
        assert sent == alone(shared.config, message)
        assert inflate(zlib.decompressobj(-15), sent + b"\0\0\xff\xff") == message
    assert len(shared.config._free[12]) == 1


def test_decompressors_are_never_shared(shared):
    """A back-reference reaches nothing that another connection received."""
    one, other = shared(), shared()
    assert one.decompress(alone(shared.config, SECRET)) == SECRET
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12, 5, zlib.Z_DEFAULT_STRATEGY, SECRET)
    reaching = compressor.compress(SECRET) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(reaching) < 12  # it refers to what was before it
    for side in (other, one):
        with pytest.raises(Exception, match="distance"):
            side.decompress(reaching[:-4])
    assert one.make_decompressor(b"") is not one.make_decompressor(b"")
