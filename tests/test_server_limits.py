"""How many a server takes, and how it lets all of them go: limits and the graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import struct

import pytest
from conftest import Net
from helpers import EchoListener, Recorder, needs_poller, request_bytes
from raw import CLOSE, TEXT, Peer, complaints, exchange, lines, row, soon, upgraded

from picows_c import WSCloseCode, WSUpgradeResponse, WSUpgradeResponseWithListener

HEALTH = lines("Host: h", first="GET /health HTTP/1.1")


def serve_health(request):
    """Answer /health, echo elsewhere."""
    if request.path == b"/health":
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"fine"), None)
    return EchoListener()


class Listeners:
    """A factory of recorders; keeps them."""

    def __init__(self, kind=Recorder):
        self.kind = kind
        self.all = []

    def __call__(self, request):
        self.all.append(self.kind())
        return self.all[-1]


async def until(condition):
    """Turn the loop until something has become true."""

    async def turn():
        while not condition():
            await asyncio.sleep(0.001)

    await soon(turn())


async def echo(peer, text=b"hello"):
    peer.send(TEXT, text)
    await peer.expect(TEXT, text)


# ---- open connections ----


async def test_no_more_than_max_connections(net):
    factory = Listeners(EchoListener)
    async with net.serve(factory, max_connections=2) as server:
        first, second = await upgraded(net), await upgraded(net)
        assert server.stats == (2, 0, 0, 0)
        for refused in (1, 2, 3):
            head, headers, body = await exchange(net, request_bytes())
            assert head == "HTTP/1.1 503 Service Unavailable"
            assert headers["connection"] == "close"
            assert body
            assert server.stats.refused == refused
        # Nobody has heard of those.
        assert len(factory.all) == 2
        await echo(first)
        first.abort()
        await until(lambda: server.stats.open == 1)
        third = await upgraded(net)
        await echo(third)
        await echo(second)
        assert server.stats.open == 2
        second.abort()
        third.abort()


async def test_full_server_still_answers_http(net, caplog):
    async with net.serve(serve_health, max_connections=1):
        peer = await upgraded(net)
        assert (await exchange(net, HEALTH))[2] == b"fine"
        head, _, _ = await exchange(net, request_bytes("/health"))
        assert head.startswith("HTTP/1.1 503 ")
        await echo(peer)
        peer.abort()
    assert complaints(caplog) == []


async def test_refused_and_http_requests_take_no_room(plain):
    async with plain.serve(serve_health, max_connections=1) as server:
        for _ in range(3):
            await exchange(plain, HEALTH)
            await exchange(plain, request_bytes(Sec_WebSocket_Version="8"))
        peer = await upgraded(plain)
        await echo(peer)
        assert server.stats.open == 1
        peer.abort()
        await until(lambda: server.stats == (0, 0, 0, 0))


# ---- pending connections ----

# Nobody else drops them.
PATIENT = {"websocket_handshake_timeout": None}


async def is_gone(reader):
    with contextlib.suppress(ConnectionError):
        assert await soon(reader.read()) == b""


async def test_oldest_pending_connections_are_dropped(net):
    async with net.serve(Listeners(EchoListener), max_pending_connections=3, **PATIENT) as server:
        peers = [Peer(*await soon(net.open()), is_client=True) for _ in range(3)]
        await until(lambda: server.stats.pending == 3)
        assert server.stats.dropped == 0
        peers[0].write(request_bytes()[:-1])
        late = [Peer(*await soon(net.open()), is_client=True) for _ in range(2)]
        await until(lambda: server.stats.dropped == 2)
        for peer in peers[:2]:
            await is_gone(peer.reader)
        # The others have their chance, and an open connection is in nobody's way.
        for peer in (peers[2], *late):
            peer.write(request_bytes())
            await peer.read_head()
            await echo(peer)
        assert server.stats == (3, 0, 2, 0)
        more = [Peer(*await soon(net.open()), is_client=True) for _ in range(3)]
        await until(lambda: server.stats.pending == 3)
        assert server.stats == (3, 3, 2, 0)
        for peer in peers + late + more:
            peer.abort()


async def test_flood_of_silent_connections(net, caplog):
    """The number stays bounded, and an honest client gets in."""
    limit, count = 10, 60
    async with net.serve(
        lambda request: EchoListener(), max_pending_connections=limit, **PATIENT
    ) as server:
        peers = []
        for _ in range(count):
            peers.append(Peer(*await soon(net.open()), is_client=True))
            assert server.stats.pending <= limit
        honest = await upgraded(net)
        await echo(honest)
        await until(lambda: server.stats.dropped == count + 1 - limit)
        assert server.stats.pending == limit - 1
        for peer in peers[: count + 1 - limit]:
            await is_gone(peer.reader)
        await echo(honest)
        for peer in [*peers, honest]:
            peer.abort()
        await until(lambda: server.stats.pending == 0)
    # One record for all of it.
    assert len(complaints(caplog)) == 1


async def test_flood_is_logged_once_each_time(plain, caplog):
    caplog.set_level(logging.INFO, "picows_c.server")

    def said():
        return [r.getMessage() for r in caplog.records if "pending connections" in r.message]

    async with plain.serve(
        lambda request: EchoListener(), max_pending_connections=4, **PATIENT
    ) as server:
        for dropped in (5, 10):
            caplog.clear()
            peers = [Peer(*await soon(plain.open()), is_client=True) for _ in range(9)]
            await until(lambda dropped=dropped: server.stats.dropped == dropped)
            assert said() == ["more than 4 pending connections: the oldest ones are dropped"]
            # Three are left: it goes on. Two: it is over.
            peers[5].abort()
            await until(lambda: server.stats.pending == 3)
            assert len(said()) == 1
            peers[6].abort()
            await until(lambda: server.stats.pending == 2)
            assert said()[1:] == ["5 pending connections were dropped; 2 are left"]
            for peer in peers:
                peer.abort()
            await until(lambda: server.stats.pending == 0)
            assert len(said()) == 2


async def open_tcp(net):
    """Connect without a word of TLS."""
    opening = asyncio.open_connection("127.0.0.1", net.port)
    return Peer(*await soon(opening), is_client=True)


async def begin_tls(peer, context):
    """Do the TLS handshake on a connection that has been open for a while."""
    reader = asyncio.StreamReader()
    transport = await soon(
        asyncio.get_running_loop().start_tls(
            peer.writer.transport, asyncio.StreamReaderProtocol(reader), context
        )
    )
    return reader, transport


@needs_poller
async def test_tls_handshakes_count_as_pending(certificates):
    """On the poller; the loop's own transports are not seen before TLS is done."""
    net = Net("wss", "auto", certificates)
    hello = struct.pack("!BHH", 22, 0x0301, 300) + b"\x01"
    async with net.serve(
        lambda request: EchoListener(), max_pending_connections=5, **PATIENT
    ) as server:
        silent = []
        for _ in range(20):
            silent.append(await open_tcp(net))
            silent[-1].write(hello)
        await until(lambda: server.stats == (0, 5, 15, 0))
        for peer in silent[:15]:
            await is_gone(peer.reader)
        honest = await upgraded(net)
        await echo(honest)
        assert server.stats == (1, 4, 16, 0)
        for peer in [*silent, honest]:
            peer.abort()
        await until(lambda: server.stats[:2] == (0, 0))


@needs_poller
async def test_end_of_tls_does_not_make_a_connection_younger(certificates):
    net = Net("wss", "auto", certificates)
    context = certificates.client()
    # When the client has done its part, the server has done its own.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with net.serve(
        lambda request: EchoListener(), max_pending_connections=3, **PATIENT
    ) as server:
        peers = [await open_tcp(net) for _ in range(3)]
        await until(lambda: server.stats.pending == 3)
        reader, transport = await begin_tls(peers[0], context)
        peers.append(await open_tcp(net))
        await until(lambda: server.stats == (0, 3, 1, 0))
        await is_gone(reader)
        transport.abort()
        for peer in peers:
            peer.abort()
        await until(lambda: server.stats.pending == 0)


@needs_poller
async def test_failed_tls_handshakes_are_not_pending(certificates):
    net = Net("wss", "auto", certificates)
    async with net.serve(lambda request: EchoListener()) as server:
        peer = await open_tcp(net)
        await until(lambda: server.stats.pending == 1)
        peer.write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: server.stats == (0, 0, 0, 0))
        peer.abort()


async def test_no_limit(plain):
    async with plain.serve(
        lambda request: EchoListener(), max_pending_connections=None, **PATIENT
    ) as server:
        peers = [Peer(*await soon(plain.open()), is_client=True) for _ in range(50)]
        await until(lambda: server.stats.pending == 50)
        assert server.stats.dropped == 0
        for peer in peers:
            peer.abort()


# ---- the graceful end ----


async def test_clients_hear_a_close(net):
    factory = Listeners()
    async with net.serve(factory) as server:
        made = [await net.connect(Recorder) for _ in range(3)]
        assert await soon(server.close_gracefully()) == 0
        assert not server.is_serving()
        assert server.stats[:2] == (0, 0)
        for listener in factory.all:
            assert listener.events == ["connected", "CLOSE", "disconnected"]
            assert listener.transport.close_handshake.sent.code == WSCloseCode.GOING_AWAY
            assert listener.transport.close_handshake.recv.code == WSCloseCode.GOING_AWAY
        for transport, listener in made:
            await soon(transport.wait_disconnected())
            assert transport.close_handshake.recv.code == 1001
            assert transport.close_handshake.recv.reason is None
            assert listener.events == ["connected", "CLOSE", "disconnected"]
        with pytest.raises(OSError):
            await net.open()
        await soon(server.wait_closed())


@pytest.mark.parametrize(
    "code, reason, payload",
    [
        (1001, None, b"\x03\xe9"),
        (WSCloseCode.SERVICE_RESTART, "back soon \u2713", b"\x03\xf4back soon \xe2\x9c\x93"),
        (4321, b"bytes", b"\x10\xe1bytes"),
        (1000, "x" * 123, b"\x03\xe8" + b"x" * 123),
        (WSCloseCode.NO_INFO, None, b""),
        (WSCloseCode.NO_INFO, "", b""),
    ],
)
async def test_code_and_reason(plain, code, reason, payload):
    async with plain.serve(lambda request: EchoListener()) as server:
        peer = await upgraded(plain)
        ending = asyncio.ensure_future(server.close_gracefully(code, reason=reason))
        await peer.expect(CLOSE, payload)
        peer.send(CLOSE, payload)
        assert await peer.rest() == b""
        assert await soon(ending) == 0


async def test_what_was_sent_comes_first_and_nothing_afterwards(net):
    factory = Listeners()
    async with net.serve(factory) as server:
        peer = await upgraded(net)
        (listener,) = factory.all
        listener.transport.send(TEXT, b"x" * 200_000)
        ending = asyncio.ensure_future(server.close_gracefully())
        await asyncio.sleep(0)
        listener.transport.send(TEXT, b"too late")
        await peer.expect(TEXT, b"x" * 200_000)
        await peer.expect_close(1001)
        # What is on its way is delivered still.
        peer.send(TEXT, b"last words")
        peer.send(CLOSE, b"\x03\xe9")
        assert bytes(await soon(listener.frames.get())) == b"last words"
        assert await peer.all() == []
        assert await soon(ending) == 0


async def test_peer_that_never_answers(net):
    factory = Listeners()
    async with net.serve(factory) as server:
        silent, polite = await upgraded(net), await net.connect(Recorder)
        assert await soon(server.close_gracefully(timeout=0.1)) == 1
        await silent.expect_close(1001)
        await silent.gone()
        assert polite[0].close_handshake.recv.code == 1001
        assert [listener.events[-1] for listener in factory.all] == ["disconnected"] * 2
        await soon(polite[0].wait_disconnected())


async def test_peer_that_never_reads(plain):
    factory = Listeners()
    async with plain.serve(factory) as server:
        peer = await upgraded(plain)
        peer.writer.transport.pause_reading()
        (listener,) = factory.all
        for _ in range(64):
            listener.transport.send(TEXT, b"x" * (1 << 20))
        assert listener.transport.underlying_transport.get_write_buffer_size() > 0
        assert await soon(server.close_gracefully(timeout=0.1)) == 1
        assert listener.events == ["connected", "disconnected"]
        peer.abort()


async def test_without_timeout_close_timeout_counts(net):
    async with net.serve(lambda request: EchoListener(), close_timeout=0.1) as server:
        silent = await upgraded(net)
        assert await soon(server.close_gracefully()) == 1
        await silent.gone()


async def test_close_timeout_counts_before_timeout(plain):
    async with plain.serve(lambda request: EchoListener(), close_timeout=0.1) as server:
        silent = await upgraded(plain)
        assert await soon(server.close_gracefully(timeout=1000)) == 1
        await silent.gone()


async def test_pending_connections_are_dropped(net):
    factory = Listeners(EchoListener)
    async with net.serve(factory, close_timeout=None) as server:
        peers = [Peer(*await soon(net.open()), is_client=True) for _ in range(3)]
        peers[0].write(request_bytes()[:-1])
        await until(lambda: server.stats.pending == 3)
        assert await soon(server.close_gracefully()) == 0
        for peer in peers:
            await peer.gone()
    assert factory.all == []


async def test_answers_of_http_requests_arrive(plain):
    """A request that has been answered is not dropped: its answer may be on its way."""
    body = b"x" * (8 << 20)

    def factory(request):
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(body), None)

    async with plain.serve(factory) as server:
        peer = Peer(*await soon(plain.open()), is_client=True)
        peer.write(HEALTH)
        await peer.read_head()
        ending = asyncio.ensure_future(server.close_gracefully())
        await asyncio.sleep(0)
        assert await peer.rest() == body
        assert await soon(ending) == 0


@needs_poller
async def test_tls_handshakes_are_dropped(certificates):
    net = Net("wss", "auto", certificates)
    async with net.serve(lambda request: EchoListener()) as server:
        peer = await open_tcp(net)
        peer.write(b"\x16\x03\x01")
        await until(lambda: server.stats.pending == 1)
        assert await soon(server.close_gracefully()) == 0
        await is_gone(peer.reader)
        peer.abort()


@needs_poller
async def test_connection_that_comes_out_of_tls_afterwards_is_dropped(certificates):
    """With the loop's own transports a TLS handshake goes on unseen."""
    net = Net("wss", "loop", certificates)
    factory = Listeners(EchoListener)
    made = []
    async with net.serve(factory) as server:
        make_protocol = server._make_protocol

        def note(given):
            made.append(make_protocol(given))
            return made[-1]

        server._make_protocol = note
        peer = await open_tcp(net)
        await until(lambda: made)  # accepted
        assert server.stats.pending == 0
        assert await soon(server.close_gracefully()) == 0

        _, transport = await begin_tls(peer, certificates.client())
        transport.write(request_bytes())
        await until(lambda: made[0]._is_shutting and made[0].transport is None)
        transport.abort()
    assert factory.all == []


async def test_again_and_again(net):
    async with net.serve(lambda request: EchoListener()) as server:
        peer = await upgraded(net)
        first = asyncio.ensure_future(server.close_gracefully(1012, reason="first"))
        await peer.expect(CLOSE, b"\x03\xf4first")
        second = asyncio.ensure_future(server.close_gracefully(1001))
        await asyncio.sleep(0)
        assert not first.done()
        assert not second.done()
        peer.send(CLOSE, b"\x03\xf4")
        assert await peer.all() == []
        assert await soon(asyncio.gather(first, second)) == [0, 0]
        assert await soon(server.close_gracefully()) == 0


async def test_after_close(plain):
    async with plain.serve(lambda request: EchoListener()) as server:
        transport, _ = await plain.connect(Recorder)
        server.close()
        assert await soon(server.close_gracefully()) == 0
        await soon(transport.wait_disconnected())
        assert transport.close_handshake.recv.code == 1001


async def test_without_connections(plain):
    async with plain.serve(lambda request: EchoListener()) as server:
        assert await soon(server.close_gracefully()) == 0


async def test_cancelled_it_leaves_everything_as_it_is(net):
    async with net.serve(lambda request: EchoListener()) as server:
        peer = await upgraded(net)
        ending = asyncio.ensure_future(server.close_gracefully(timeout=0.05))
        await peer.expect_close(1001)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        await asyncio.sleep(0.1)  # twice the timeout, which does not count any more
        assert server.stats.open == 1
        peer.send(CLOSE, b"\x03\xe9")
        assert await peer.rest() == b""
        await soon(server.wait_closed())


async def test_serve_forever_ends(plain):
    async with plain.serve(lambda request: EchoListener()) as server:
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        await soon(server.close_gracefully())
        with pytest.raises(asyncio.CancelledError):
            await soon(forever)


async def test_listener_that_closes_in_its_own_words(plain):
    class Listener(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            transport.send(TEXT, "after the CLOSE")

    async with plain.serve(Listeners(Listener)) as server:
        peer = await upgraded(plain)
        ending = asyncio.ensure_future(server.close_gracefully())
        await peer.expect_close(1001)
        peer.send(TEXT, b"question")
        peer.send(CLOSE, b"\x03\xe9")
        assert await peer.all() == []
        assert await soon(ending) == 0


WRONG = [
    (ValueError, "close code", {"code": 1005}),
    (ValueError, "close code", {"code": 1006}),
    (ValueError, "close code", {"code": 1004}),
    (ValueError, "close code", {"code": 1015}),
    (ValueError, "close code", {"code": 999}),
    (ValueError, "close code", {"code": 2999}),
    (ValueError, "close code", {"code": 5000}),
    (ValueError, "close code", {"code": -1}),
    (ValueError, "close code", {"code": 1 << 70}),
    (TypeError, "integer", {"code": "1001"}),
    (TypeError, "integer", {"code": 1001.0}),
    (TypeError, "str, None or", {"reason": 5}),
    (ValueError, "123 bytes", {"reason": "x" * 124}),
    (ValueError, "123 bytes", {"reason": "\u2713" * 42}),
    (ValueError, "(?i)utf-8", {"reason": b"\xff"}),
    (ValueError, "(?i)utf-8", {"reason": "\ud800"}),
    (ValueError, "reason needs", {"code": 0, "reason": "x"}),
    (TypeError, "timeout", {"timeout": "1"}),
    (ValueError, "timeout", {"timeout": 0}),
    (ValueError, "timeout", {"timeout": -1}),
    (ValueError, "timeout", {"timeout": float("nan")}),
]


async def test_wrong_arguments_change_nothing(plain):
    async with plain.serve(lambda request: EchoListener()) as server:
        peer = await upgraded(plain)
        for error, match, arguments in WRONG:
            with row(arguments), pytest.raises(error, match=match):
                await server.close_gracefully(**arguments)
        assert server.is_serving()
        await echo(peer)
        peer.abort()
        other = await upgraded(plain)
        await echo(other)
        other.abort()
