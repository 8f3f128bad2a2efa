"""Every allocation made while our code runs fails in turn, until a run has no failure.

    python tests/nomem/run.py [--from N] [SCENARIO ...]

A scenario is one connection; our side is the client or the server, the peer is asyncio's streams.
Our code runs inside of nomem.call() (nomem.c): what the loop calls of ours, each step of
ws_connect(), each call of a method. The nth allocation there fails, for n from 0 on: a MemoryError
is raised or reported, or the connection is closed, or nothing comes of it; but nothing crashes or
hangs, each on_ws_connected has its on_ws_disconnected, and the next connection works.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import functools
import gc
import importlib.util
import logging
import os
import random
import shlex
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Optional
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from wire import accept_for, frame_bytes, read_head, request_bytes  # noqa: E402

import picows_c  # noqa: E402
from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server  # noqa: E402
from picows_c.poller import poller_of  # noqa: E402

PATIENCE = 60.0
# A peer that does not close gets so long.
picows_c.protocol._LINGER = 0.05
STEP_TIMEOUT = 300.0


def build() -> Any:
    """Compile and import nomem.c."""
    folder = Path(tempfile.mkdtemp(prefix="nomem"))
    made = folder / f"nomem{sysconfig.get_config_var('EXT_SUFFIX')}"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    include = f"-I{sysconfig.get_path('include')}"
    # The preloaded sanitizer is for Python.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [*compiler, "-shared", "-fPIC", "-O1", include, str(HERE / "nomem.c")]
    subprocess.run([*command, "-o", str(made)], check=True, env=env)
    spec = importlib.util.spec_from_file_location("nomem", made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made.unlink()
    folder.rmdir()
    return module


nomem = build()


# What a loop's transport calls of its protocol.
CALLED_BY_LOOPS = (
    "connection_made", "connection_lost", "get_buffer", "buffer_updated", "eof_received",
    "pause_writing", "resume_writing",
)  # fmt: skip


class Phase:
    """Whether what is ours is counted at the moment."""

    is_on = False


def ours(callback: Any) -> bool:
    owner = getattr(callback, "__self__", callback)
    if getattr(type(callback), "__name__", "") == "partial":
        owner = getattr(callback.func, "__self__", callback.func)
    if hasattr(callback, "is_counted"):
        return False  # is counted by itself
    names = (type(owner).__module__, getattr(callback, "__module__", None) or "")
    return any(name.startswith("picows_c") for name in names)


def call(function: Any, *args: Any) -> Any:
    return nomem.call(function, *args) if Phase.is_on else function(*args)


class Counted:
    """A callback that is counted where the phase says so, when it runs."""

    def __init__(self, callback: Any) -> None:
        self.callback = callback

    def __call__(self, *args: Any) -> Any:
        return call(self.callback, *args)


class Future(asyncio.Future):  # type: ignore[type-arg]
    """A future that wakes whoever waits: where asyncio's own fails in that, nobody ever does."""

    def set_result(self, result: Any) -> None:
        nomem.pause()
        super().set_result(result)
        nomem.resume()

    def set_exception(self, exception: Any) -> None:
        nomem.pause()
        super().set_exception(exception)
        nomem.resume()


class Loop(asyncio.SelectorEventLoop):
    """A loop that counts what is ours."""

    def create_future(self) -> Any:
        return Future(loop=self)

    def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        nomem.pause()
        try:
            return Uncounted(super().create_connection(*args, **kwargs))
        finally:
            nomem.resume()

    async def sock_connect(self, sock: Any, address: Any) -> None:
        # Not counted: where asyncio's own fails it leaves the descriptor in its selector.
        nomem.pause()
        try:
            sock.setblocking(True)
            sock.connect(address)
            sock.setblocking(False)
        finally:
            nomem.resume()

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        callback = Counted(callback) if ours(callback) else callback
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        callback = Counted(callback) if ours(callback) else callback
        return super().call_at(when, callback, *args, context=context)

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        super().add_reader(fd, Counted(callback) if ours(callback) else callback, *args)

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:
        super().add_writer(fd, Counted(callback) if ours(callback) else callback, *args)


class Stepped:
    """A coroutine each of whose steps is counted."""

    def __init__(self, coroutine: Any) -> None:
        self.coroutine = coroutine

    def __await__(self) -> Any:
        step, value = self.coroutine.send, None
        while True:
            try:
                waits = call(step, value)
            except StopIteration as end:
                return end.value
            try:
                value = yield waits
                step = self.coroutine.send
            except BaseException as error:
                step, value = self.coroutine.throw, error


class Uncounted(Stepped):
    """A coroutine of asyncio's that our code waits for: its steps are not counted."""

    def __await__(self) -> Any:
        step, value = self.coroutine.send, None
        while True:
            nomem.pause()
            try:
                waits = step(value)
            except StopIteration as end:
                return end.value
            finally:
                nomem.resume()
            try:
                value = yield waits
                step = self.coroutine.send
            except BaseException as error:
                step, value = self.coroutine.throw, error


def counted(method: Any) -> Any:
    def calling(*args: Any) -> Any:
        return call(method, *args)

    calling.is_counted = True  # type: ignore[attr-defined]
    return calling


def uncounted(method: Any) -> Any:
    @functools.wraps(method)
    def paused(*args: Any, **kwargs: Any) -> Any:
        nomem.pause()
        try:
            return method(*args, **kwargs)
        finally:
            nomem.resume()

    return paused


# Not counted, though our code calls them: where these fail half-way, asyncio leaves a descriptor in
# its selector, or never says that a connection is lost.
_ASYNCIOS = {
    asyncio.selector_events.BaseSelectorEventLoop: (
        "_add_reader", "_remove_reader", "_add_writer", "_remove_writer",
    ),
    asyncio.selector_events._SelectorTransport: ("close", "abort", "_force_close"),
    asyncio.selector_events._SelectorSocketTransport: ("write",),
}  # fmt: skip


@contextlib.contextmanager
def loop_calls_counted() -> Iterator[None]:
    """Count what asyncio's transports call of ours, as the loop's own calls are counted."""
    changed = [
        (kind, name, counted(getattr(kind, name)))
        for kind in (picows_c.client.ClientProtocol, picows_c.server.ServerProtocol)
        for name in CALLED_BY_LOOPS
    ]
    changed += [
        (owner, name, uncounted(getattr(owner, name)))
        for owner, names in _ASYNCIOS.items()
        for name in names
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, method in changed:
            stack.enter_context(mock.patch.object(owner, name, method))
        yield


# ---- the connection ----


class Listener(WSListener):
    def __init__(self) -> None:
        self.transport: Any = None
        self.connected = self.disconnected = 0
        self.got: list[Any] = []
        self.news = asyncio.Event()

    # What the test itself does in a callback is not counted.

    def on_ws_connected(self, transport: Any) -> None:
        nomem.pause()
        self.transport = transport
        self.connected += 1
        self.news.set()
        nomem.resume()

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        nomem.pause()
        self.got.append(frame)
        self.news.set()
        nomem.resume()

    def on_ws_disconnected(self, transport: Any) -> None:
        nomem.pause()
        self.disconnected += 1
        self.news.set()
        nomem.resume()

    async def until(self, done: Callable[[], object]) -> None:
        while not done() and not self.disconnected:
            self.news.clear()
            await self.news.wait()


class Bed:
    """Servers and contexts that all runs of a scenario share."""

    def __init__(self) -> None:
        self.listener = Listener()
        self.peers: asyncio.Queue[Any] = asyncio.Queue()

    async def open(self, is_tls: bool, options: dict[str, Any]) -> None:
        self.options = {"logger_name": "nomem", **options}
        self.server_context = self.client_context = None
        if is_tls:
            import trustme

            authority = trustme.CA()
            self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(self.server_context)
            self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            authority.configure_trust(self.client_context)
        self.scheme = "wss" if is_tls else "ws"
        self.ours = await ws_create_server(
            lambda request: self.listener, "127.0.0.1", 0, ssl=self.server_context, **self.options
        )
        self.theirs = await asyncio.start_server(
            lambda *pair: self.peers.put_nowait(pair), "127.0.0.1", 0, ssl=self.server_context
        )

    async def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        await self.ours.wait_closed()

    async def accept(self) -> tuple[Any, Any]:
        """Have a peer connect to our server."""
        port = self.ours.sockets[0].getsockname()[1]
        pair = await asyncio.open_connection("127.0.0.1", port, ssl=self.client_context)
        offer = {}
        if self.options.get("compression"):
            offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_no_context_takeover"}
        pair[1].write(request_bytes("/", **offer))
        return pair

    async def connect(self) -> tuple[Any, Any]:
        """Have our client connect to a peer."""
        port = self.theirs.sockets[0].getsockname()[1]
        options = {"ssl_context": self.client_context, **self.options}
        coroutine = ws_connect(
            lambda: self.listener, f"{self.scheme}://127.0.0.1:{port}/", **options
        )

        async def connecting() -> None:
            await Stepped(coroutine)

        self.connecting = asyncio.ensure_future(connecting())
        getting = asyncio.ensure_future(self.peers.get())
        await asyncio.wait([self.connecting, getting], return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            await self.connecting
        pair = await getting
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            _, headers = await read_head(pair[0])
            accept = accept_for(headers["sec-websocket-key"])
            pair[1].write(
                b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
            )
        return pair


def client_frame(opcode: int, payload: bytes, **options: Any) -> bytes:
    return frame_bytes(opcode, payload, mask=b"\1\2\3\4", **options)


# Each gets the bed, its listener, a connected peer; what it does is counted.


async def nothing(listener: Listener, reader: Any, writer: Any) -> None:
    """Only open."""


async def receive(listener: Listener, reader: Any, writer: Any) -> None:
    """Frames of all sizes, in pieces, kept; a ping."""
    for size in (0, 5, 125, 126, 129, 5000, 70000):
        writer.write(client_frame(2, bytes(size)))
    writer.write(client_frame(9, b"ping") + client_frame(1, b"text"))
    data = client_frame(2, b"x" * 300)
    writer.write(data[:7])
    await asyncio.sleep(0)
    writer.write(data[7:])
    await listener.until(lambda: len(listener.got) >= 9)
    for frame in listener.got:
        call(frame.get_payload_as_bytes)
        call(memoryview, frame)


async def alone(listener: Listener, reader: Any, writer: Any) -> None:
    """One frame after the other, until the loop itself watches for them; that ends; anew."""
    of, moved = poller_of(asyncio.get_running_loop()), []
    for _ in range(2):
        for _ in range(18):
            count = len(listener.got) + 1
            writer.write(client_frame(2, b"x"))
            await listener.until(lambda n=count: len(listener.got) >= n)  # type: ignore[misc]
        stream = listener.transport.underlying_transport
        moved.append(of.direct >= 0)
        call(stream.pause_reading)
        call(stream.resume_reading)
    # At most one of the two finds no memory for it.
    assert any(moved) or listener.disconnected


async def send(listener: Listener, reader: Any, writer: Any) -> None:
    """Payloads of all kinds and sizes; corked; more than the kernel takes."""
    t = listener.transport
    for payload in (b"", b"x" * 5, "text", bytearray(300), memoryview(bytes(70000)), "\u20ac" * 99):
        call(t.send, WSMsgType.TEXT if isinstance(payload, str) else WSMsgType.BINARY, payload)
    call(t.send_ping, b"x")
    call(t.send_reuse_external_bytearray, WSMsgType.BINARY, bytearray(1000), 14)
    call(t._cork)
    try:
        call(t.send, WSMsgType.BINARY, b"x" * 100)
        call(t.send, WSMsgType.TEXT, "y")
    finally:
        call(t._uncork)
    call(t.send, WSMsgType.BINARY, bytes(8_000_000))
    while not t.is_disconnected and t.write_buffer_size:
        await reader.read(1 << 20)
        await asyncio.sleep(0)


async def message(listener: Listener, reader: Any, writer: Any) -> None:
    """Fragments that become a message."""
    writer.write(client_frame(1, b"a" * 100, fin=False) + client_frame(0, b"b" * 2000, fin=False))
    await asyncio.sleep(0)
    writer.write(client_frame(9, b"between") + client_frame(0, "\u20ac".encode() * 9000))
    await listener.until(lambda: listener.got)


async def deflate(listener: Listener, reader: Any, writer: Any) -> None:
    """Compressed messages, in and out."""
    context = zlib.compressobj(6, zlib.DEFLATED, -15)
    payload = random.Random(1).randbytes(2000) * 10
    data = (context.compress(payload) + context.flush(zlib.Z_SYNC_FLUSH))[:-4]
    writer.write(client_frame(2, data[:500], fin=False, rsv=4) + client_frame(0, data[500:]))
    await listener.until(lambda: listener.got)
    for size in (100, 20_000):
        call(listener.transport.send, WSMsgType.BINARY, payload[:size])


async def close(listener: Listener, reader: Any, writer: Any) -> None:
    """The closing handshake, begun by us."""
    call(listener.transport.send_close, 1000, "reason")
    with contextlib.suppress(ConnectionError):
        await reader.read()
        writer.write(client_frame(8, b"\x03\xe8"))
    await listener.until(lambda: False)


async def closed(listener: Listener, reader: Any, writer: Any) -> None:
    """The closing handshake, begun by the peer; then a broken frame."""
    writer.write(client_frame(8, b"\x03\xe8because"))
    await listener.until(lambda: False)


async def broken(listener: Listener, reader: Any, writer: Any) -> None:
    """A peer that breaks the rules."""
    writer.write(client_frame(3, b""))
    await listener.until(lambda: False)


async def disconnect(listener: Listener, reader: Any, writer: Any) -> None:
    """An end without a word, with bytes that wait."""
    call(listener.transport.send, WSMsgType.BINARY, bytes(8_000_000))
    call(listener.transport.disconnect)
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 20):
            pass
    writer.close()
    await listener.until(lambda: False)


Steps = Callable[[Listener, Any, Any], Awaitable[None]]
# name: the steps, whether our side is the client, TLS, the options, whether opening is counted.
Scenario = tuple[Steps, bool, bool, dict[str, Any], bool]
SCENARIOS: dict[str, Scenario] = {
    "connect": (nothing, True, False, {}, True),
    "accept": (nothing, False, False, {}, True),
    "receive": (receive, False, False, {}, False),
    "send": (send, False, False, {}, False),
    "send-masked": (send, True, False, {}, False),
    "message": (message, False, False, {"assemble_messages": True}, False),
    "deflate": (deflate, False, False, {"assemble_messages": True, "compression": True}, False),
    "close": (close, False, False, {}, False),
    "closed": (closed, False, False, {}, False),
    "broken": (broken, False, False, {}, False),
    "disconnect": (disconnect, False, False, {}, False),
    "connect-tls": (nothing, True, True, {}, True),
    "accept-tls": (nothing, False, True, {}, True),
    "receive-tls": (receive, False, True, {}, False),
    "send-tls": (send, False, True, {}, False),
    "close-tls": (close, False, True, {}, False),
    "disconnect-tls": (disconnect, False, True, {}, False),
}
LOOP: dict[str, Any] = {"transport": "loop"}
SCENARIOS.update({
    f"loop-{name}": (steps, is_client, is_tls, {**LOOP, **options}, counts)
    for name, (steps, is_client, is_tls, options, counts) in SCENARIOS.items()
})  # fmt: skip
SCENARIOS["alone"] = (alone, False, False, {}, False)  # on the poller only


def is_memory(error: Any) -> bool:
    """Return whether an exception says that there was no memory."""
    if isinstance(error, SystemError):
        # CPython loses a MemoryError here and there, or forgets it. It names whose call did it.
        is_lost = "without" in str(error) or isinstance(error.__cause__, MemoryError)
        return is_lost and "picows_c" not in str(error)
    # zlib's own exception says Z_MEM_ERROR.
    return isinstance(error, MemoryError) or "Error -4 " in str(error)


class Outcome:
    """What a run came to."""

    def __init__(self) -> None:
        self.raised: Optional[BaseException] = None
        self.allocations, self.failed = 0, False


async def once(bed: Bed, name: str, n: int) -> Outcome:
    """Run a scenario in which allocation n fails; -1: none."""
    steps, is_client, _, _, counts_opening = SCENARIOS[name]
    outcome = Outcome()
    bed.listener = listener = Listener()
    bed.connecting = asyncio.get_running_loop().create_future()
    bed.connecting.set_result(None)
    pair: Any = None

    async def all_steps() -> None:
        nonlocal pair
        Phase.is_on = counts_opening
        pair = await (bed.connect() if is_client else bed.accept())
        if is_client:
            await bed.connecting
        else:
            opened = asyncio.ensure_future(read_head(pair[0]))
            first, _ = await opened
            if first != "HTTP/1.1 101 Switching Protocols":
                return
        # The answer was sent, and then the connection may have been given up.
        while not listener.connected:
            if pair[0].at_eof() or pair[0].exception() is not None:
                return
            await asyncio.sleep(0.001)
        Phase.is_on = True
        await steps(listener, *pair)

    nomem.start(n)
    try:
        await asyncio.wait_for(all_steps(), PATIENCE)
    except asyncio.TimeoutError:
        raise AssertionError(f"{name}: hangs where allocation {n} fails") from None
    except (OSError, EOFError, picows_c.WSError) as error:
        outcome.raised = error
    except Exception as error:
        if not is_memory(error):
            raise
        outcome.raised = error
    finally:
        Phase.is_on = False
        outcome.allocations, outcome.failed = nomem.stop()
    if pair is not None:
        pair[1].transport.abort()
    await asyncio.wait([bed.connecting], timeout=PATIENCE)
    assert bed.connecting.done(), f"{name}: ws_connect hangs where allocation {n} fails"
    bed.connecting.exception()
    while not bed.peers.empty():
        bed.peers.get_nowait()[1].transport.abort()
    if listener.transport is not None:
        listener.transport.disconnect(False)
        with contextlib.suppress(MemoryError, picows_c.WSError):
            await asyncio.wait_for(listener.transport.wait_disconnected(), PATIENCE)
    assert listener.connected == listener.disconnected, (
        f"{name}: {listener.connected} on_ws_connected, {listener.disconnected} "
        f"on_ws_disconnected where allocation {n} fails"
    )
    if n < 0 and outcome.raised is not None:
        raise outcome.raised
    return outcome


async def run(name: str, first: int, problems: list[dict[str, Any]]) -> None:
    bed = Bed()
    await bed.open(SCENARIOS[name][2], {"close_timeout": 0.2, **SCENARIOS[name][3]})
    n, raised = first, 0
    # What is cached at first use is there afterwards.
    for _ in range(3):
        await once(bed, name, -1)
    assert not problems, problems
    while True:
        faulthandler.dump_traceback_later(STEP_TIMEOUT, exit=True)
        problems.clear()
        outcome = await once(bed, name, n)
        for context in problems:
            error = context.get("exception")
            assert is_memory(error), (n, context)
        raised += outcome.raised is not None or bool(problems)
        if not outcome.failed:
            break
        problems.clear()
        await once(bed, name, -1)
        assert not problems, (n, problems)
        n += 1
        if n % 100 == 0:
            print(f"  {name}: {n} ...", flush=True)
    faulthandler.cancel_dump_traceback_later()
    await bed.close()
    print(
        f"{name}: {n} allocations failed in turn, {raised} of them were heard of",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--from", type=int, default=0, dest="first")
    args = parser.parse_args()
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    # A destructor's MemoryError has nowhere to go.
    sys.unraisablehook = lambda unraisable: None
    for name in args.scenarios or SCENARIOS:
        loop = Loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context, to=problems: to.append(context))
        asyncio.set_event_loop(loop)
        with loop_calls_counted() if name.startswith("loop-") else contextlib.nullcontext():
            loop.run_until_complete(run(name, args.first, problems))
        loop.close()
        gc.collect()


if __name__ == "__main__":
    main()
