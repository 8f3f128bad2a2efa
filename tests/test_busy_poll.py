"""busy_poll: the poller goes on asking for a while after input."""

from __future__ import annotations

import asyncio

import pytest
from helpers import EchoListener, Recorder
from raw import TEXT, against, soon, upgraded

from picows_c import WSMsgType
from picows_c.poller import has_poller, poller_of

needs_poller = pytest.mark.skipif(not has_poller(), reason="there is no poller here")


def turns() -> int:
    """How often the loop has called its poller."""
    return poller_of(asyncio.get_running_loop()).turns


async def settled() -> None:
    """Wait until the poller sleeps."""
    while True:
        before = turns()
        # Far longer than one iteration of the loop.
        await asyncio.sleep(0.1)
        if turns() == before:
            return


async def came_back() -> bool:
    """Whether two iterations of the loop had a turn of the poller, with nothing to do for it."""
    before = turns()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return turns() > before


@needs_poller
@pytest.mark.parametrize("seconds", [0.02, 0.3])
async def test_it_asks_for_so_long_and_then_sleeps(plain, way, seconds):
    listener = Recorder()
    async with against(plain, "server", listener, busy_poll=seconds) as peer:
        await settled()
        loop = asyncio.get_running_loop()
        peer.send(TEXT, b"x")
        await soon(listener.frames.get())
        began = loop.time()
        if way == "loop":
            assert not await came_back()
            return
        # It goes on until then, however slow the machine is; and no longer.
        while loop.time() - began < seconds / 2:
            assert await came_back() or loop.time() - began >= seconds / 2
        await settled()


@needs_poller
async def test_without_it_the_poller_sleeps(plain):
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        await settled()
        peer.send(TEXT, b"x")
        await soon(listener.frames.get())
        assert not await came_back()


@needs_poller
async def test_the_last_connection_ends_it(plain):
    listener = Recorder()
    async with against(plain, "client", listener, busy_poll=1.0) as peer:
        peer.send(TEXT, b"x")
        await soon(listener.frames.get())
        listener.transport.disconnect(False)
        await soon(listener.disconnected.wait())
        await settled()


async def test_others_have_their_turn(plain):
    """A busy connection, one that is not, a timer and a task: all advance."""
    busy = Recorder()
    async with plain.serve(lambda request: EchoListener()):
        other = await upgraded(plain)
        transport, _ = await plain.connect(lambda: busy, busy_poll=1.0)
        fired = asyncio.Event()
        asyncio.get_running_loop().call_later(0.001, fired.set)
        for i in range(100):
            transport.send(WSMsgType.TEXT, f"{i}")
            assert (await soon(busy.frames.get())).get_payload_as_bytes() == b"%d" % i
            other.send(TEXT, b"and %d" % i)
            await other.expect(TEXT, b"and %d" % i)
        await soon(fired.wait())
        transport.disconnect(False)
        await soon(busy.disconnected.wait())
        other.abort()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), float("inf")])
async def test_what_is_no_time(plain, wrong):
    with pytest.raises(ValueError, match="busy_poll must be 0 to 1 second"):
        await plain.connect(Recorder, busy_poll=wrong)


async def test_what_is_no_number(plain):
    with pytest.raises(TypeError, match="busy_poll must be a number"):
        await plain.connect(Recorder, busy_poll="fast")
