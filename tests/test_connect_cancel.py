"""Cancelling ws_connect at every point where it waits: nothing is left, nothing happens later."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import socket
import sys
import time
import types

import pytest
from helpers import EchoListener, Recorder
from raw import PATIENCE, soon

from picows_c import WSUpgradeResponse, WSUpgradeResponseWithListener, ws_connect

FOLDER = "/proc/self/fd"


@types.coroutine
def cancelled_at(coroutine, point, late):
    """Run a coroutine, and cancel the task at its ``point``-th wait (from 0).

    Early: as the wait begins. Late: when what was waited for has come, and the coroutine is about
    to go on: the result is there, but nobody takes it.
    """
    task = asyncio.current_task()
    step, argument, count = coroutine.send, None, 0
    while True:
        try:
            waited = step(argument)
        except StopIteration as end:
            return end.value
        if count == point:
            if late and waited is not None:
                waited.add_done_callback(lambda _: task.cancel())
            else:
                task.cancel()
        count += 1
        try:
            step, argument = coroutine.send, (yield waited)
        except BaseException as error:
            step, argument = coroutine.throw, error


class Counting(Recorder):
    """Remembers what happened after it was told that it is over."""

    def __init__(self):
        super().__init__()
        self.made = 0

    def __call__(self):
        self.made += 1
        return self


def sockets():
    """The sockets of this process, by descriptor."""
    found = {}
    for name in os.listdir(FOLDER):
        try:
            target = os.readlink(f"{FOLDER}/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found[name] = target
    return found


async def settled(before, tasks):
    """Wait until there is no more than before; the other ends have to notice first."""
    late = time.monotonic() + PATIENCE
    while len(sockets()) > before or asyncio.all_tasks() - tasks:
        assert time.monotonic() < late, f"left: {sockets()}, {asyncio.all_tasks() - tasks}"
        await asyncio.sleep(0.001)


async def idle():
    """Wait until the number of sockets stays the same: what was before has gone."""
    last, same = len(sockets()), 0
    while same < 10:
        await asyncio.sleep(0.001)
        now = len(sockets())
        last, same = now, same + 1 if now == last else 0


async def at_every_point(net, url, **options):
    """Cancel ws_connect everywhere, until it comes through; return at how many points."""
    if net.scheme == "wss":
        options.setdefault("ssl_context", net.certificates.client())
    options.setdefault("transport", net.way)
    # Nothing may come to the rescue.
    options.update(open_timeout=None, websocket_handshake_timeout=None, close_timeout=None)
    loop = asyncio.get_running_loop()
    # The first one makes what stays: threads, pollers, caches.
    transport, listener = await soon(ws_connect(Counting(), url, **options))
    transport.disconnect(False)
    await soon(listener.disconnected.wait())
    gc.collect()
    await idle()
    before, tasks = len(sockets()), asyncio.all_tasks()

    points = 0
    for late in (False, True):
        point = 0
        while True:
            listener = Counting()
            connecting = loop.create_task(
                _run(cancelled_at(ws_connect(listener, url, **options), point, late))
            )
            try:
                transport, _ = await soon(connecting)
            except asyncio.CancelledError:
                assert connecting.cancelled()
            else:
                transport.disconnect(False)
                await soon(listener.disconnected.wait())
                await settled(before, tasks)
                break
            seen, made = listener.events[:], listener.made
            await settled(before, tasks)
            if seen:
                # It was connected when nobody took the result any more.
                assert seen[0] == "connected"
                await soon(listener.disconnected.wait())
                assert listener.events == ["connected", "disconnected"]
            else:
                assert listener.events == []
                assert listener.made == made
            point += 1
        points += point
    return points


async def _run(awaitable):
    return await awaitable


def factory_of(net):
    def factory(request):
        if request.path == b"/redirect":
            response = WSUpgradeResponse.create_redirect_response(302, net.url("/end"))
            return WSUpgradeResponseWithListener(response, None)
        return EchoListener()

    return factory


pytestmark = pytest.mark.skipif(not os.path.isdir(FOLDER), reason="needs /proc")


@pytest.fixture(autouse=True)
def no_collections():
    """What a collection closes was forgotten, not closed."""
    gc.disable()
    yield
    gc.enable()


async def test_direct(net):
    async with net.serve(factory_of(net), transport="auto"):
        assert await at_every_point(net, net.url()) >= 4


async def test_redirects(net):
    async with net.serve(factory_of(net), transport="auto"):
        once = await at_every_point(net, net.url())
        assert await at_every_point(net, net.url("/redirect")) >= once + 4


async def test_names(net):
    """Addresses one over the other: a task for each."""
    async with net.serve(factory_of(net), transport="auto"):
        options = {"happy_eyeballs_delay": 0.001, "family": socket.AF_UNSPEC}
        await at_every_point(net, net.url(host="localhost"), **options)


async def test_socket_factories(net):
    async def later(url):
        await asyncio.sleep(0)

    async with net.serve(factory_of(net), transport="auto"):
        for factory in (lambda url: socket.socket(), later):
            await at_every_point(net, net.url(), socket_factory=factory)


@pytest.mark.parametrize("kind", ["http", "https", "socks4", "socks5"])
async def test_proxies(net, proxies, kind):
    options = {"proxy": proxies.url(kind, True)}
    if kind == "https":
        options["proxy_ssl_context"] = net.certificates.client()
    async with net.serve(factory_of(net), transport="auto"):
        assert await at_every_point(net, net.url(), **options) >= 4


async def test_aiofastnet(net, proxies, need):
    need("aiofastnet", importlib.util.find_spec("aiofastnet"))
    async with net.serve(factory_of(net), transport="auto"):
        for proxy in (None, proxies.url("http")):
            await at_every_point(net, net.url(), proxy=proxy, use_aiofastnet=True)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract unix sockets are Linux's")
async def test_unix(plain):
    name = f"\0picows_c-cancel-{os.getpid()}-{id(plain)}"
    writers = []

    async def answer(reader, writer):
        from helpers import read_head
        from raw import answer_bytes

        writers.append(writer)
        try:
            _, headers = await read_head(reader)
            writer.write(answer_bytes(headers["sec-websocket-key"]))
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_unix_server(answer, name)
    try:
        await at_every_point(plain, "ws://localhost/", unix_path=name)
    finally:
        server.close()
        await server.wait_closed()


async def test_how_the_test_itself_works():
    """Each wait is met, early and late."""

    async def two_waits():
        loop = asyncio.get_running_loop()
        for _ in range(2):
            future = loop.create_future()
            loop.call_soon(lambda future=future: future.done() or future.set_result(1))
            reached.append(await future)
        return "done"

    for late in (False, True):
        for point, expected in ((0, 0), (1, 1)):
            reached = []
            task = asyncio.ensure_future(_run(cancelled_at(two_waits(), point, late)))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(reached) == expected
        assert await _run(cancelled_at(two_waits(), 2, late)) == "done"
