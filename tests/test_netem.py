"""Bad networks below TCP: loss, delay, reordering, duplicates, corruption, a link that is down.

Server and client are in network namespaces of their own, and the tests carry the packets between
them (netem.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from dataclasses import replace

import netem
import pytest
from helpers import EchoListener, Recorder
from netem import Conditions, linked
from raw import PATIENCE, pattern, soon

from picows_c import (
    WSDisconnectKind,
    WSMsgType,
    ws_connect,
    ws_create_server,
)

# What the machine forbids is none of its programs: REQUIRE_ALL=1 cannot ask for it.
pytestmark = pytest.mark.usefixtures("permitted")

KINDS = {"frames": {}, "messages": {"assemble_messages": True, "compression": True}}
SIZES = [0, 1, 125, 126, 5000, 65_536, 20_000, 3]
# No deadline of ours is in the way.
PATIENT = {"websocket_handshake_timeout": None, "close_timeout": None}
# And these are over at once, where nobody can answer.
IMPATIENT = 0.15
PINGS = {
    "enable_auto_ping": True,
    "auto_ping_idle_timeout": IMPATIENT,
    "auto_ping_reply_timeout": IMPATIENT,
}

LINKS = {
    "nothing": Conditions(),
    "loss of 1 %": Conditions(loss=0.01),
    "loss of 20 %": Conditions(loss=0.2),
    "duplicates": Conditions(duplicates=0.3),
    "reordering": Conditions(reordering=0.2),
    "delay": Conditions(delay=0.01, jitter=0.01),
    "corruption": Conditions(corruption=0.03),
    "rate": Conditions(rate=4e6, queue=32 * 1024),
    "all of it": Conditions(
        loss=0.03, duplicates=0.1, reordering=0.1, corruption=0.01, delay=0.001, jitter=0.005
    ),
}


@pytest.fixture
def permitted():
    reason = netem.forbidden()
    if reason:
        pytest.skip(reason)


class Quiet:
    """Says nothing about its watermarks."""

    def pause_writing(self):
        pass

    resume_writing = pause_writing


class Echo(Quiet, EchoListener):
    def __init__(self, ends=None):
        self.ends = [] if ends is None else ends

    def on_ws_connected(self, transport):
        self.ends.append(transport)


class Client(Quiet, Recorder):
    pass


class Far:
    """A picows_c server at the far end of a link, and how to get there from the near end."""

    def __init__(self, net, link, scheme, server):
        self.net, self.link, self.scheme, self.server = net, link, scheme, server
        self.address, self.port = server.sockets[0].getsockname()

    async def connect(self, **options):
        options.setdefault("open_timeout", None)
        if self.scheme == "wss":
            options.setdefault("ssl_context", self.net.certificates.client())
            # Its certificate is for this one.
            options.setdefault("server_hostname", "127.0.0.1")
        return await ws_connect(
            Client,
            f"{self.scheme}://{self.address}:{self.port}/",
            socket_factory=lambda url: self.link.near.socket(),
            transport=self.net.way,
            **{**PATIENT, **options},
        )


@contextlib.asynccontextmanager
async def served(net, link, scheme=None, factory=Echo, **options):
    """Serve at the far end."""
    scheme = scheme or net.scheme
    if scheme == "wss":
        options["ssl"] = net.certificates.server()
    server = await ws_create_server(
        lambda request: factory(),
        sock=link.far.listening(),
        transport=net.way,
        **{**PATIENT, **options},
    )
    try:
        yield Far(net, link, scheme, server)
    finally:
        server.close()
        server.abort_clients()
        await soon(server.wait_closed())


async def echo(transport, listener, sizes=SIZES):
    """Send messages, all at once; each comes back as it was, and in its place."""
    for number, size in enumerate(sizes):
        transport.send(WSMsgType.BINARY, pattern(size, number))
    for number, size in enumerate(sizes):
        frame = await soon(listener.frames.get())
        assert frame.msg_type == WSMsgType.BINARY
        assert frame.get_payload_as_bytes() == pattern(size, number)


async def until(condition):
    async def waiting():
        while not condition():
            await asyncio.sleep(0.01)

    await soon(waiting())


@pytest.mark.parametrize("how", LINKS)
async def test_what_arrives_is_whole_and_in_order(plain, how):
    """Plain and TLS, frames and compressed messages, two of each at a time over the same link."""
    conditions = LINKS[how]

    async def talk(far, options):
        transport, listener = await far.connect(**options)
        await echo(transport, listener)
        transport.send_close(1000, "done")
        await soon(transport.wait_disconnected())
        assert transport.close_handshake.recv.code == 1000
        assert transport.disconnect_cause.kind is WSDisconnectKind.LOCAL_CLOSE
        assert listener.events[-2:] == ["CLOSE", "disconnected"]
        assert listener.frames.qsize() == 1

    async with (
        contextlib.AsyncExitStack() as stack,
        linked(replace(conditions), replace(conditions), how) as link,
    ):
        talks = []
        for scheme in ("ws", "wss"):
            for options in KINDS.values():
                far = await stack.enter_async_context(served(plain, link, scheme, **options))
                talks += [talk(far, options), talk(far, options)]
        await asyncio.gather(*talks)
        assert link.counts["passed"] > 100
        for name in vars(conditions):
            # (Where bytes go slowly it is the queue that overflows, or not.)
            if name != "queue" and getattr(conditions, name) != getattr(Conditions(), name):
                assert link.counts[name if name != "jitter" else "delay"] > 0, name
        assert how != "nothing" or link.counts["lost"] == 0


async def test_a_link_that_comes_back(net):
    """What was sent meanwhile, on both sides, arrives afterwards; nobody hears of it."""

    async def talk(options):
        ends = []
        async with (
            linked() as link,
            served(net, link, factory=lambda: Echo(ends), **options) as far,
        ):
            transport, listener = await far.connect(**options)
            await echo(transport, listener)
            for _ in range(2):
                link.set_down(True)
                transport.send(WSMsgType.BINARY, pattern(300_000, 7))
                ends[0].send(WSMsgType.BINARY, pattern(300_000, 8))
                await soon(asyncio.gather(link.lost(0, 3), link.lost(1, 3)))
                assert listener.frames.empty()
                assert not transport.is_disconnected
                link.set_down(False)
                for number in (8, 7):
                    frame = await soon(listener.frames.get())
                    assert frame.get_payload_as_bytes() == pattern(300_000, number)
            await echo(transport, listener)
            transport.disconnect()
            await soon(transport.wait_disconnected())

    await asyncio.gather(*map(talk, KINDS.values()))


async def test_a_link_that_comes_back_during_the_handshake(plain):
    """Down after so many packets, of TCP's handshake, TLS's or ours; then all goes on."""

    async def connecting(scheme, packets):
        down = {"down_after": packets}
        async with (
            linked(Conditions(**down), Conditions(**down), packets) as link,
            served(plain, link, scheme) as far,
        ):
            connect = asyncio.ensure_future(far.connect())
            losing = [asyncio.ensure_future(link.lost(direction)) for direction in (0, 1)]
            done, pending = await asyncio.wait(
                losing, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
            )
            assert done
            assert not connect.done()
            for one in pending:
                one.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            link.set_down(False)
            await echo(*await soon(connect))

    await asyncio.gather(*(connecting(scheme, n) for scheme in ("ws", "wss") for n in range(3)))


async def test_nobody_is_there_any_more_during_the_handshake(net):
    """ws_connect ends with a timeout, wherever that is; the server keeps nothing of it."""

    async def connecting(packets):
        limits = {"websocket_handshake_timeout": IMPATIENT, **PINGS}
        if net.scheme == "wss":
            limits["ssl_handshake_timeout"] = IMPATIENT
        async with (
            linked(back=Conditions(down_after=packets), seed=packets) as link,
            served(net, link, **limits) as far,
        ):
            connect = asyncio.ensure_future(far.connect(open_timeout=IMPATIENT))
            done, _ = await asyncio.wait([connect], timeout=PATIENCE)
            assert done, packets
            with pytest.raises(asyncio.TimeoutError):
                connect.result()
            link.set_down(True)
            # It may have thought that all was well.
            await until(lambda: not far.server.stats.pending and not far.server.stats.open)

    # (The third packet back has the answer, or the first part of TLS's, in it.)
    await asyncio.gather(*map(connecting, range(2)))


async def test_pings_find_a_link_that_is_down(net):
    """On either side, whether bytes wait to be sent or not: an end within the pings' timeouts."""

    async def talk(waiting, who):
        # (Only one side pings, so that only one side can end it, however slow this machine is.)
        pings = {who: PINGS}
        ends, causes = [], []

        class Ending(Echo):
            def on_ws_disconnected(self, transport):
                causes.append(transport.disconnect_cause.kind)

        async with (
            linked() as link,
            served(net, link, factory=lambda: Ending(ends), **pings.get("server", {})) as far,
        ):
            transport, _ = await far.connect(**pings.get("client", {}))
            link.set_down(True)
            pinging = ends[0] if who == "server" else transport
            with contextlib.suppress(ConnectionError):
                pinging.send(WSMsgType.BINARY, bytes(waiting))
            if who == "server":
                await until(lambda: causes)
                assert causes == [WSDisconnectKind.PING_TIMEOUT]
                assert far.server.stats.open == 0
                transport.disconnect(False)
            await soon(transport.wait_disconnected())
            if who == "client":
                assert transport.disconnect_cause.kind is WSDisconnectKind.PING_TIMEOUT
            assert pinging.write_buffer_size == 0

    await asyncio.gather(
        *(talk(waiting, who) for waiting in (0, 2_000_000) for who in ("client", "server"))
    )


async def test_an_end_that_nobody_hears_of(net):
    """The link is down: close_timeout is the bound of every way to end, on both sides."""
    limit = {"close_timeout": IMPATIENT}

    async def talk(how):
        ends = []
        async with (
            linked() as link,
            served(net, link, factory=lambda: Echo(ends), **limit) as far,
        ):
            transport, listener = await far.connect(**limit)
            await echo(transport, listener)
            link.set_down(True)
            for one in (transport, ends[0]):
                one.send(WSMsgType.BINARY, bytes(2_000_000))
            if how == "close_gracefully":
                assert await soon(far.server.close_gracefully()) == 1
                transport.disconnect(False)
            for one in (transport, ends[0]):
                if how == "send_close":
                    one.send_close(1000, "bye")
                elif how != "close_gracefully":
                    one.disconnect(how == "disconnect")
            await soon(transport.wait_disconnected())
            await until(lambda: ends[0].is_disconnected)
            if how == "send_close":
                assert transport.disconnect_cause.kind is WSDisconnectKind.CLOSE_TIMEOUT
                assert ends[0].disconnect_cause.kind is WSDisconnectKind.CLOSE_TIMEOUT
            assert listener.events.count("disconnected") == 1
            assert far.server.stats.open == 0

    await asyncio.gather(*map(talk, ["send_close", "disconnect", "abort", "close_gracefully"]))


async def test_a_peer_that_has_forgotten_us(net):
    """Its end was lost on the way; the next thing that we send finds it."""
    ends = []
    async with linked() as link, served(net, link, factory=lambda: Echo(ends)) as far:
        transport, listener = await far.connect()
        await echo(transport, listener)
        link.set_down(True)
        ends[0].disconnect(False)
        await until(lambda: ends[0].is_disconnected)
        link.set_down(False)
        while not transport.is_disconnected:
            with contextlib.suppress(ConnectionError):
                transport.send(WSMsgType.BINARY, b"are you there?")
            await asyncio.sleep(0.01)
        await soon(transport.wait_disconnected())
        assert transport.disconnect_cause.kind in (WSDisconnectKind.RESET, WSDisconnectKind.EOF)


async def test_nothing_is_left_of_a_link(loop_kind):
    """Neither threads nor descriptors; and the devices go with their namespaces."""
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError):
        async with linked() as link:
            assert os.listdir("/proc/self/fd") != before
            raise KeyError(link)
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
