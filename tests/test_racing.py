"""A host's addresses: their order, who wins, and what becomes of the others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import weakref

import pytest
from helpers import EchoListener, Recorder
from proxies import scripted
from raw import TEXT, Never, row, soon

from picows_c import connecting, ws_connect
from picows_c.racing import connect_first

KIND = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
V4, V6 = socket.AF_INET, socket.AF_INET6


def info(host, port, family=V4):
    return (family, *KIND, (host, port))


@contextlib.contextmanager
def refusing():
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.2", 0))
        yield sock.getsockname()


@contextlib.contextmanager
def dead_socket():
    """A listening socket that does not answer: the backlog is full, SYNs are dropped."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        for _ in range(8):
            more = stack.enter_context(socket.socket())
            more.setblocking(False)
            more.connect_ex(full.getsockname())
        yield full


@contextlib.contextmanager
def dead():
    with dead_socket() as full:
        yield full.getsockname()


def resolve_to(monkeypatch, *addresses):
    """Let every name have these addresses; a literal, too."""

    async def resolve(loop, host, port, family, proto, flags):
        asked.append((host, port, family, proto, flags))
        return [info(*address) for address in addresses]

    asked = []
    monkeypatch.setattr("picows_c.connecting.resolve", resolve)
    return asked


async def echo(net, **options):
    transport, listener = await soon(net.connect(Recorder, host="localhost", **options))
    transport.send(TEXT, "hello")
    assert bytes(await soon(listener.frames.get())) == b"hello"
    transport.disconnect(False)
    await soon(transport.wait_disconnected())


class Sockets:
    """A socket_factory that keeps what it made."""

    def __init__(self, is_async=False):
        self.made = []
        self.is_async = is_async

    def __call__(self, url):
        self.made.append(socket.socket(V4))
        return self.later(self.made[-1]) if self.is_async else self.made[-1]

    async def later(self, sock):
        await asyncio.sleep(0)
        return sock


# ---- a connection ----


async def test_dead_first_address(net, monkeypatch):
    async with net.serve(lambda request: EchoListener()):
        with dead() as address:
            asked = resolve_to(monkeypatch, address, ("127.0.0.1", net.port))
            await echo(net, open_timeout=None)
            await echo(net, open_timeout=None, happy_eyeballs_delay=0.001, interleave=1)
    assert asked == [("localhost", net.port, 0, 0, 0)] * 2


@pytest.mark.parametrize("is_async", [False, True])
async def test_dead_first_address_and_a_socket_factory(net, monkeypatch, is_async):
    factory = Sockets(is_async)
    async with net.serve(lambda request: EchoListener()):
        with dead() as address:
            asked = resolve_to(monkeypatch, address, ("127.0.0.1", net.port), address)
            await echo(net, open_timeout=None, socket_factory=factory)
    assert asked == [("localhost", net.port, V4, 0, 0)]
    assert len(factory.made) == 2
    assert [sock.fileno() for sock in factory.made] == [-1, -1]


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_dead_first_address_of_a_proxy(net, proxies, monkeypatch, kind):
    async with net.serve(lambda request: EchoListener()):
        with dead() as address:
            resolve_to(monkeypatch, address, ("127.0.0.1", proxies.ports[kind, False]))
            proxy = proxies.url(kind).replace("127.0.0.1", "localhost")
            await echo(net, open_timeout=None, proxy=proxy)


async def test_one_after_the_other(net, monkeypatch):
    """happy_eyeballs_delay=None: the second address has to wait for the first one."""
    factory = Sockets()
    async with net.serve(lambda request: EchoListener()):
        with dead() as address:
            resolve_to(monkeypatch, address, ("127.0.0.1", net.port))
            for options in ({}, {"socket_factory": factory}):
                with row(options), pytest.raises(asyncio.TimeoutError, match="open_timeout"):
                    await soon(
                        net.connect(Never(), happy_eyeballs_delay=None, open_timeout=0.5, **options)
                    )
    assert [sock.fileno() for sock in factory.made] == [-1]


@pytest.mark.skipif(sys.platform != "linux", reason="a SYN is repeated after a second on Linux")
async def test_local_port_and_several_addresses(net, monkeypatch):
    """Two attempts cannot have one port: the second one waits until the first has failed."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        local = sock.getsockname()

    async def resolve(loop, host, port, *args):
        if (host, port) == local:
            return [info("::1", port, V6), info(host, port)]
        return [info(*address) for address in addresses]

    monkeypatch.setattr("picows_c.connecting.resolve", resolve)
    async with net.serve(lambda request: EchoListener()):
        with dead_socket() as full:
            address = full.getsockname()

            def bind(sock, candidates):
                if not bound:
                    # The address begins to refuse when the next attempt would have begun.
                    loop.call_later(0.01, full.close)
                bound.append(candidates)
                real(sock, candidates)

            bound = []
            real = connecting._bind
            monkeypatch.setattr(connecting, "_bind", bind)
            addresses = [address, ("127.0.0.1", net.port)]
            transport, _ = await soon(
                net.connect(Recorder, local_addr=local, happy_eyeballs_delay=0.0)
            )
            assert transport.underlying_transport.get_extra_info("sockname") == local
            # Taken now.
            with pytest.raises(OSError, match=r"local_addr \('127\.0\.0\.1'"):
                await soon(net.connect(Never(), local_addr=local))
            transport.disconnect(False)
            await soon(transport.wait_disconnected())


async def test_local_address_of_another_family(plain, monkeypatch):
    async def resolve(loop, host, port, *args):
        return [info("::1", port, V6)] if host == "::1" else [info("127.0.0.1", port)]

    monkeypatch.setattr("picows_c.connecting.resolve", resolve)
    plain.port = 1
    with pytest.raises(OSError, match="local_addr has no address"):
        await soon(plain.connect(Never(), local_addr=("::1", 0)))


@pytest.mark.parametrize("delay", [None, 0.0, 0.25])
async def test_all_refuse(net, monkeypatch, delay):
    """The same error as with one address, that names them all."""
    factory = Sockets()
    for options in ({}, {"socket_factory": factory}):
        with refusing() as one, refusing() as two:
            resolve_to(monkeypatch, one, two)
            net.port = one[1]
            with row(options), pytest.raises(ConnectionRefusedError) as caught:
                await soon(net.connect(Never(), happy_eyeballs_delay=delay, **options))
            assert caught.value.__context__ is None
    assert len(factory.made) == 2
    assert [sock.fileno() for sock in factory.made] == [-1, -1]


@pytest.mark.parametrize("more", ["same", "none"])
async def test_factory_that_has_one_socket(plain, monkeypatch, more):
    """It returns the same one again, or no other: no other address is tried."""
    made, calls = socket.socket(V4), []

    def factory(url):
        calls.append(url)
        return made if more == "same" or len(calls) == 1 else None

    options = {"socket_factory": factory, "happy_eyeballs_delay": 0.001, "open_timeout": 0.3}
    async with plain.serve(lambda request: EchoListener()):
        with dead() as address:
            resolve_to(monkeypatch, address, ("127.0.0.1", plain.port))
            with pytest.raises(asyncio.TimeoutError, match="open_timeout"):
                await soon(plain.connect(Never(), **options))
            assert len(calls) == 2
            assert made.fileno() == -1
            # It was used up by an address that refused.
            made, calls = socket.socket(V4), []
            with refusing() as refused:
                resolve_to(monkeypatch, refused, ("127.0.0.1", plain.port))
                with pytest.raises(ConnectionRefusedError):
                    await soon(plain.connect(Never(), **options))
            assert made.fileno() == -1


async def test_factory_that_raises_later(plain, monkeypatch):
    made = []

    def factory(url):
        if made:
            raise ZeroDivisionError("mine")
        made.append(socket.socket(V4))
        return made[0]

    plain.port = 1
    with dead() as address:
        resolve_to(monkeypatch, address, address)
        with pytest.raises(ZeroDivisionError, match="mine"):
            await soon(plain.connect(Never(), socket_factory=factory, happy_eyeballs_delay=0.0))
    assert made[0].fileno() == -1


async def test_factory_with_a_connected_socket_later(plain, monkeypatch):
    made = []

    def factory(url):
        made.append(socket.socket(V4))
        if len(made) == 2:
            made[1].connect(("127.0.0.1", plain.port))
        return made[-1]

    async with plain.serve(lambda request: EchoListener()):
        with dead() as address:
            resolve_to(monkeypatch, address, address, address)
            await echo(plain, socket_factory=factory, happy_eyeballs_delay=0.0, open_timeout=None)
    assert len(made) == 2


async def test_name_that_cannot_be_resolved_closes_the_factory_s_socket(plain, monkeypatch):
    async def resolve(*args):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr("picows_c.connecting.resolve", resolve)
    factory = Sockets()
    plain.port = 1
    with pytest.raises(socket.gaierror):
        await soon(plain.connect(Never(), host="h.example", socket_factory=factory))
    assert factory.made[0].fileno() == -1


async def test_delays_of_another_kind():
    for wrong, error in ((-1, ValueError), (float("nan"), ValueError), ("1", TypeError)):
        with row(wrong), pytest.raises(error, match="happy_eyeballs_delay"):
            await ws_connect(Never(), "ws://127.0.0.1:1/", happy_eyeballs_delay=wrong)


# ---- the race ----


def pair():
    """A socket that is connected, and its other end."""
    sock, other = socket.socketpair()
    sock.setblocking(False)
    other.setblocking(False)
    return sock, other


async def race(make, addresses, delay=0.0, interleave=None):
    loop = asyncio.get_running_loop()
    return await soon(connect_first(loop, addresses, make, delay, interleave))


async def test_order():
    a, b, c = (info(name, 1, V6) for name in "abc")
    x, y = (info(name, 1, V4) for name in "xy")
    orders = {
        (None, None): [a, b, c, x, y],
        (None, 1): [a, x, b, y, c],
        (0.0, None): [a, x, b, y, c],
        (0.0, 0): [a, b, c, x, y],
        (0.0, 2): [a, b, x, c, y],
        (0.0, 9): [a, b, c, x, y],
    }
    for (delay, interleave), order in orders.items():
        asked = []

        async def make(address, asked=asked):
            asked.append(address)
            raise ConnectionRefusedError(111, "no")

        with row((delay, interleave)):
            with pytest.raises(ConnectionRefusedError):
                await race(make, [a, b, c, x, y], delay, interleave)
            assert asked == order


async def test_failure_begins_the_next_at_once():
    """Not after the delay, which is longer than the test may last."""
    sock, other = pair()

    async def make(address):
        if address[4][0] == "c":
            return sock
        raise ConnectionRefusedError(111, address[4][0])

    with other, sock:
        assert await race(make, [info(name, 1) for name in "abc"], delay=10_000.0) is sock


async def test_two_win_in_one_turn():
    ready = asyncio.Event()
    pairs = {"a": pair(), "b": pair()}
    begun = []

    async def make(address):
        begun.append(address)
        if len(begun) == 2:
            ready.set()
        await ready.wait()
        return pairs[address[4][0]][0]

    won = await race(make, [info("a", 1), info("b", 1)])
    await asyncio.sleep(0)
    assert sorted(sock.fileno() == -1 for sock, _ in pairs.values()) == [False, True]
    assert won.fileno() != -1
    won.close()
    for _, other in pairs.values():
        other.close()


async def test_loser_that_cannot_be_cancelled():
    """It is waited for, and what it brings is closed."""
    pairs = {"a": pair(), "b": pair()}

    async def make(address):
        name = address[4][0]
        if name == "a":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()
        return pairs[name][0]

    won = await race(make, [info("a", 1), info("b", 1)])
    assert won is pairs["b"][0]
    await asyncio.sleep(0)
    assert pairs["a"][0].fileno() == -1
    won.close()
    for _, other in pairs.values():
        other.close()


async def test_cancelled_while_the_losers_end():
    """The winner is closed as well: nobody gets it."""
    pairs = {"a": pair(), "b": pair()}
    ending = asyncio.Event()
    go_on = asyncio.Event()

    async def make(address):
        name = address[4][0]
        if name == "a":
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                ending.set()
                await go_on.wait()
        return pairs[name][0]

    task = asyncio.ensure_future(race(make, [info("a", 1), info("b", 1)]))
    await soon(ending.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    while pairs["b"][0].fileno() != -1:
        await asyncio.sleep(0)
    for sock in (pairs["a"][0], *(other for _, other in pairs.values())):
        sock.close()


async def test_nothing_to_connect_to():
    async def make(address):
        return None

    for delay in (None, 0.0):
        with pytest.raises(OSError, match="no address"):
            await race(make, [info("a", 1), info("b", 1)], delay)


async def test_errors_are_freed_without_the_collector():
    class Mark(OSError):
        def __init__(self, *args):
            super().__init__(*args)
            marks.append(weakref.ref(self))

    marks = []

    async def make(address):
        raise Mark(111, "refused")

    loop = asyncio.get_running_loop()
    gc.disable()
    try:
        for delay in (None, 0.0):
            for count in (1, 2):
                with contextlib.suppress(Mark):
                    await connect_first(loop, [info("a", 1)] * count, make, delay, None)
                await asyncio.sleep(0)
        assert len(marks) == 6
        assert [mark for mark in marks if mark() is not None] == []
    finally:
        gc.enable()


async def test_different_errors_are_all_told():
    async def make(address):
        raise OSError(address[4][1], address[4][0])

    with pytest.raises(OSError, match=r"one.*two") as caught:
        await race(make, [info("one", 101), info("two", 111)])
    assert caught.value.errno is None


async def test_sockets_are_left_to_the_winner_only(plain, monkeypatch):
    """Both addresses are accepted in the end; one connection is used, the other one ends."""
    ended = asyncio.Event()

    async def script(reader, writer):
        if not await reader.read(1):
            ended.set()
        writer.close()

    async with scripted(script) as port, plain.serve(lambda request: EchoListener()):
        loop = asyncio.get_running_loop()
        pairs = [socket.socket(V4), socket.socket(V4)]

        async def make(address):
            sock = pairs.pop()
            sock.setblocking(False)
            await loop.sock_connect(sock, address[4])
            if address[4][1] == port:
                with contextlib.suppress(asyncio.CancelledError):
                    await loop.create_future()
            return sock

        won = await race(make, [info("127.0.0.1", port), info("127.0.0.1", plain.port)])
        assert won.getpeername()[1] == plain.port
        await soon(ended.wait())
        won.close()
