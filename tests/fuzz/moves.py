"""What hostile code does inside of our calls. Every fifth session has some of these moves.

A callback of TLS calls the transport, another protocol takes the place of ours, ours is lost by
hand, room that was lent is kept and written to, TLS begins on a stream that wrap() ends, a callback
forks, runs the loop, is interrupted. What must hold: no crash, here and in a forked child; room
that we have is filled by nobody else; a descriptor stays who it was; the rest as ever.

Two kinds of sessions have no scripted peer: TLS in several threads at a time (one of 17), and
transports and loops of other people's making (one of 10), which is foreign.py.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import ssl
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, Callable, Optional

import hooks
from wireparse import must

import picows_c
from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server

EVERY = 5
ACTS = ["rewire", "lend", "private", "fork", "nest", "interrupt", "wrap"]
# What a call of lent room or of a private method may be refused with.
REFUSALS = (RuntimeError, ValueError, OverflowError)
PACKAGE = os.path.dirname(picows_c.__file__) + os.sep
# At most so many calls from inside of TLS, forks, nested loops, interruptions a session.
MOST = {"inside": 40, "fork": 1, "nest": 4, "interrupt": 6}
THREADS, CONNECTIONS = 4, 3
PATIENCE = 60.0
# A child that does not end by itself ends with SIGALRM.
CHILD_SECONDS = 20

# The callbacks from which a move is made; session.py adds the listener's.
entries: set[types.CodeType] = set(hooks.ENTRIES)


class Other(asyncio.Protocol):
    """A protocol that takes the place of ours."""


class Lent:
    """Room that get_buffer() lent, and what must stand in it."""

    def __init__(self, view: memoryview, rng: random.Random) -> None:
        self.view, self.rng = view, rng
        self.mark = b""
        self.write()

    def write(self) -> None:
        self.mark = bytes([self.rng.randrange(256)]) * len(self.view)
        self.view[:] = self.mark

    def check(self) -> None:
        must(self.view == self.mark, "room that was lent shows other bytes")


class Echo(WSListener):
    """For the threads."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        transport.send(frame.msg_type, frame)


class Waiting(WSListener):
    """For the threads: the client of an Echo."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        self.frames.put_nowait(frame.get_payload_as_bytes())


def outside_of_callback() -> Optional[set[types.FrameType]]:
    """Return the Python frames that wait for the outermost callback on the stack.

    None where there is none, or where no frame of Python would know that it has returned.
    """
    found: list[types.FrameType] = []
    frame: Optional[types.FrameType] = sys._getframe(1)
    chain: list[types.FrameType] = []
    while frame is not None:
        if frame.f_code is Moves.nest.__code__:
            break
        chain.append(frame)
        if frame.f_code in entries:
            found = list(chain)
        frame = frame.f_back
    waits = found[-1].f_back if found else None
    # A loop in C calls without a frame of its own.
    if waits is None or waits.f_code.co_name == "run_session":
        return None
    outside = set()
    while waits is not None:
        outside.add(waits)
        waits = waits.f_back
    return outside


class Moves:
    """The moves of one session, drawn from its seed."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.rng = rng = random.Random(f"{session.seed}/moves")
        self.hook: Optional[str] = None
        self.acts: list[str] = []
        self.in_threads = self.is_foreign = self.is_proxied = self.is_child = False
        self.made = dict.fromkeys(MOST, 0)
        self.depth = 0
        self.nested = 0
        self.inner_reads = self.inner_writes = 0
        self.lent: list[tuple[Any, Lent]] = []
        self.children: list[int] = []
        if session.seed % EVERY:
            return
        kind = rng.random()
        self.in_threads, self.is_foreign = kind < 0.06, kind > 0.9
        self.hook = rng.choice([None, None, *hooks.KINDS, "objects"])
        self.acts = rng.sample(ACTS, rng.choice([1, 2, 3, 4]))
        is_client = session.role == "client" and self.hook in ("objects", "messages")
        self.is_proxied = is_client and rng.random() < 0.5
        # Which of two layers calls back: the proxy's, the one inside, both.
        self.layers = rng.choice([(True, False), (False, True), (True, True)])

    def contexts(self, certificates: Any) -> tuple[Any, Any, Any]:
        """Return our contexts: a server's, a client's, a client's for the proxy."""
        plain = (certificates.server, certificates.client, certificates.client)
        if self.hook is None:
            return plain
        server, client = certificates.hooked(self.hook)
        if not self.is_proxied:
            return server, client, plain[2]
        outer, inner = self.layers
        return server, client if inner else plain[1], client if outer else plain[2]

    def __str__(self) -> str:
        return f"hook={self.hook} proxied={self.is_proxied} acts={self.acts}"

    def expects(self, context: dict[str, Any]) -> bool:
        """Whether what a loop could not handle is ours."""
        error = context.get("exception")
        if self.hook == "objects" and "made its buffer smaller" in str(error):
            return True
        # Ours was lost by hand while TLS filled its room, or was put back while another's was.
        rewired = ("buffer_updated(", "no attribute 'data_received'")
        if "rewire" in self.acts and any(text in str(error) for text in rewired):
            return True
        # A callback raised behind the loss.
        if "rewire" in self.acts and type(error) is AssertionError:
            return True
        # asyncio's transports cannot be served from inside of their own callbacks.
        nests = "nest" in self.acts and self.session.way == "loop"
        return nests and "cannot enter context" in str(error)

    def may_outlive(self) -> bool:
        """Whether a timer may be left: a connection was lost inside of a call that sets one."""
        return self.hook is not None and ("rewire" in self.acts or "nest" in self.acts)

    def may_fail(self, error: object) -> bool:
        """Whether we may fail to connect: TLS cannot begin inside of TLS, in a nested loop."""
        nests = self.hook is not None and "nest" in self.acts
        return nests and isinstance(error, ConnectionResetError)

    def _may(self, what: str) -> bool:
        self.made[what] += 1
        return self.made[what] <= MOST[what]

    # ---- from inside of TLS ----

    def inside(self, where: str) -> None:
        """Make a call on some connection of ours, if it comes to that."""
        if self.is_child or self.depth > 1 or self.rng.random() > 0.3 or not self._may("inside"):
            return
        living = [c for c in self.session.connections if c.transport is not None]
        self.depth += 1
        try:
            if living and self.rng.random() < 0.9:
                self.rng.choice(living).call(f"TLS {where}")
            elif "fork" in self.acts:
                self.fork(None)
        except Exception as error:
            # What ended a message was noted, and overflowed.
            if not (isinstance(error, ValueError) and self.session.overflow.seen):
                self.session.wrong(error)
        finally:
            self.depth -= 1

    def shrinks(self, buffer: object) -> bool:
        """Whether a read() makes the buffer smaller that it was given: the connection ends."""
        if self.is_proxied:
            return False  # the proxy's answer comes that way
        target = buffer.obj if isinstance(buffer, memoryview) else None
        return isinstance(target, bytearray) and self.rng.random() < 0.5

    def part_of(self, data: Any) -> Any:
        """Return what a write() takes of ``data``."""
        n = len(data)
        return data if self.rng.random() < 0.7 else data[: self.rng.randrange(1, n + 1)]

    # ---- from anywhere ----

    def take(self, connection: Any, where: str) -> bool:
        """Make a move instead of a call; whether that was done."""
        if self.is_child:
            return True
        for _, lent in self.lent:
            lent.check()
        if not self.acts or self.rng.random() > 0.4:
            return False
        act = self.rng.choice(self.acts)
        if connection.protocol is None and act in ("rewire", "lend", "private", "wrap"):
            return False
        connection.note(f"move {act} in {where}")
        move: Callable[[Any], None] = getattr(self, act)
        move(connection)
        return True

    def let_go(self, connection: Any) -> None:
        """Drop our protocol while it delivers a frame, now and then."""
        if self.is_child or connection.protocol is None or "rewire" not in self.acts:
            return
        if self.rng.random() < 0.05:
            connection.note("move rewire, let go in frame")
            self.rewire(connection, 4)

    def rewire(self, connection: Any, kind: Optional[int] = None) -> None:
        """Give the stream another protocol; have ours lost by hand."""
        stream, ours = connection.stream, connection.protocol
        if kind is None:
            kind = self.rng.randrange(5)
        if not isinstance(stream, picows_c._core.Stream):
            return
        self.session.note(f"rewire {kind}")
        if kind == 0:
            stream.set_protocol(Other())
            stream.set_protocol(ours)
            return
        connection.was_dropped = connection.is_orphan = True
        if kind == 1:
            ours.connection_lost(None)
        elif kind == 2:
            ours.eof_received()
        elif kind == 3 and not connection.is_finishing:
            # What comes is the other's; finish() has ours lost.
            connection.trusted = min(connection.trusted, len(connection.delivered))
            stream.set_protocol(Other())
        else:
            stream.set_protocol(Other())
            # Nobody else has it: it goes when this returns.
            connection.protocol = None
            ours.connection_lost(None)

    def lend(self, connection: Any) -> None:
        """Have room lent, keep it, write to it, commit it, in any order."""
        ours, rng, kind = connection.protocol, self.rng, self.rng.randrange(6)
        mine = [lent for owner, lent in self.lent if owner is connection]
        self.session.note(f"lend {kind}")
        if kind <= 1 and self.depth == 0:
            if len(self.lent) < 6:
                self.lent.append((connection, Lent(ours.get_buffer(-1), rng)))
        elif kind == 2:
            for _, lent in self.lent:
                lent.write()
        elif kind == 3 and mine:
            self._give_back(mine[0])
        elif kind >= 4:
            self._commit(connection, rng.choice([len(each.view) for each in mine] or [0]))

    def _give_back(self, lent: Lent) -> None:
        lent.check()
        self.lent = [(owner, each) for owner, each in self.lent if each is not lent]
        lent.view.release()

    def _commit(self, connection: Any, n: int) -> None:
        """Say that something has been written to it."""
        rng, ours = self.rng, connection.protocol
        before = len(connection.delivered)
        if rng.random() < 0.5:
            # The room goes, what was said of it stays.
            for lent in [each for owner, each in self.lent if owner is connection]:
                self._give_back(lent)
        n = rng.choice([0, 1, n, n, n, n + 1, rng.randrange(n + 1), 1 << 40, -1])
        try:
            ours.buffer_updated(n)
        except REFUSALS:
            return
        if n > 0:
            # From here on these bytes are the connection's, and what they mean is anything.
            connection.trusted = min(connection.trusted, before)
            for lent in [each for owner, each in self.lent if owner is connection]:
                self.lent = [(owner, each) for owner, each in self.lent if each is not lent]
                lent.view.release()

    def private(self, connection: Any) -> None:
        """Call what only the package calls, in the wrong moment."""
        ours, transport = connection.protocol, connection.transport
        before = len(connection.delivered)
        try:
            if self.rng.random() < 0.6:
                ours._take_rest()
                connection.trusted = min(connection.trusted, before)
                # (Inside of a send() the end may be decided and not known.)
                is_inside = self.depth > 0 or connection.in_watermark > 0
                is_over = transport.disconnect_cause is not None or connection.stream.is_closing()
                must(is_inside or is_over or connection.is_orphan, "_take_rest() was not refused")
            elif not transport.is_disconnected:
                ours._start_frames(transport, connection, 1 << 20, False, False, 1 << 20, None, 0)
                must(False, "_start_frames() was not refused")
        except RuntimeError:
            pass

    def wrap(self, connection: Any) -> None:
        """Begin TLS with a wrap() that ends the stream, or has TLS begin there by itself."""
        stream, kind = connection.stream, self.rng.randrange(3)
        if not isinstance(stream, picows_c._core.Stream):
            return
        self.session.note(f"wrap {kind}")
        bios = [ssl.MemoryBIO() for _ in range(4)]
        certificates = self.session.certificates

        def inner() -> Any:
            return certificates.server.wrap_bio(bios[2], bios[3], server_side=True)

        has_run = False

        def wrap() -> Any:
            nonlocal has_run
            has_run = connection.was_dropped = True
            if kind == 2:
                stream._start_tls(inner, bios[2], bios[3], lambda error: None)
            else:
                stream.abort()
            if kind == 1:
                stream._lost(None)
            return certificates.server.wrap_bio(bios[0], bios[1], server_side=True)

        try:
            stream._start_tls(wrap, bios[0], bios[1], lambda error: None)
            must(False, "_start_tls() was not refused")
        except ConnectionResetError:
            pass
        if has_run and kind == 2:
            # Who is in a handshake hears of its end: ours has to be told.
            connection.is_orphan = True
            stream.abort()
            connection.protocol.connection_lost(None)

    def fork(self, connection: Any) -> None:
        """Fork; the child leaves when the callback has returned to whoever called it."""
        if self.session.way == "loop":
            return  # a child has its copies of their sockets, and sends
        outside = outside_of_callback()
        if outside is None or not self._may("fork"):
            return
        child = os.fork()
        if child:
            self.children.append(child)
            return
        self.is_child = True
        signal.alarm(CHILD_SECONDS)

        def leave(frame: types.FrameType, event: str, arg: object) -> None:
            if event in ("return", "c_return", "c_exception") and frame in outside:
                os._exit(0)

        sys.setprofile(leave)

    def nest(self, connection: Any) -> None:
        """Run the loop from inside of itself."""
        loop: Any = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop) or self.nested or not self._may("nest"):
            return
        if self.rng.random() < 0.6 and self.session.way == "auto":
            # What is lost here is told by the loop inside.
            connection.was_dropped = True
            connection.transport.disconnect(False)
        running, waiting = asyncio.current_task(), len(loop._ready)
        self.nested += 1
        if running is not None:
            asyncio.tasks._leave_task(loop, running)
        try:
            for _ in range(self.rng.choice([1, 2, 5])):
                loop.call_soon(int)  # so that it waits for nothing
                loop._run_once()
        finally:
            if running is not None:
                asyncio.tasks._enter_task(loop, running)
            self.nested -= 1
            # The outer iteration takes as many as it has counted.
            while len(loop._ready) < waiting:
                loop.call_soon(int)

    def interrupt(self, connection: Any) -> None:
        """Press Ctrl-C at some line of what a call does."""
        stream, rng = connection.stream, self.rng
        if not isinstance(stream, picows_c._core.Stream) or not self._may("interrupt"):
            return
        sock, fd = stream.get_extra_info("socket"), stream._fileno()
        if fd < 0:
            return
        calls: list[Callable[[], object]] = [
            sock.getsockname,
            sock.getpeername,
            lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
        ]
        if rng.random() < 0.2:
            connection.was_dropped = True
            calls = [
                stream.abort,
                connection.transport.disconnect,
                lambda: connection.transport.disconnect(False),
                lambda: connection.transport.send_close(1001),
            ]
        same = os.fstat(fd).st_ino
        for _ in range(3):
            self._interrupted(rng.choice(calls))
        if stream._fileno() == fd:
            must(self._inode(fd) == same, "the stream's descriptor is another's")

    def _interrupted(self, call: Callable[[], object]) -> None:
        if self.is_child:  # forked inside, it has a hook of its own
            return
        left = self.rng.randrange(16)

        def ctrl_c(frame: types.FrameType, event: str, arg: object) -> None:
            nonlocal left
            path, name = frame.f_code.co_filename, frame.f_code.co_name
            left -= path.startswith(PACKAGE) or path == socket.__file__ or name == "call_soon"
            if left < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

        try:
            sys.setprofile(ctrl_c)
            call()
        except KeyboardInterrupt:
            self.session.note("interrupted")
        except OSError:
            pass
        finally:
            if not self.is_child:
                sys.setprofile(None)

    @staticmethod
    def _inode(fd: int) -> int:
        try:
            return os.fstat(fd).st_ino
        except OSError:
            return -1

    # ---- the end ----

    def finish(self, connection: Any) -> None:
        """End what has nobody else any more who ends it."""
        for owner, lent in list(self.lent):
            if owner is connection:
                self._give_back(lent)
        if connection.is_orphan:
            if connection.protocol is not None:
                connection.protocol.connection_lost(None)
            connection.stream.abort()

    def check(self) -> None:
        """See what must have come of it, when the connections have ended."""
        for child in self.children:
            status = os.waitpid(child, 0)[1]
            must(status == 0, f"a forked child ended with status {status:#x}")
        for _, lent in self.lent:
            lent.check()
            lent.view.release()
        self.lent.clear()
        if self.hook == "inner" and any(c.connected for c in self.session.connections):
            counts = (self.inner_reads, self.inner_writes)
            must(all(counts), f"methods of an SSLObject were bypassed: {counts}")

    # ---- threads ----

    def run_threads(self, certificates: Any) -> None:
        """Shake hands and talk over TLS in some threads at a time."""
        make_loop = type(asyncio.get_running_loop())
        failed: list[BaseException] = []

        def run() -> None:
            loop = make_loop()
            try:
                loop.run_until_complete(asyncio.wait_for(self._talk(certificates), PATIENCE))
            except BaseException as error:
                failed.append(error)
            finally:
                loop.close()

        threads = [threading.Thread(target=run) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        must(not failed, f"in a thread: {failed}")

    async def _talk(self, certificates: Any) -> None:
        server = await ws_create_server(
            lambda request: Echo(), "127.0.0.1", 0, ssl=certificates.server
        )
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for n in range(CONNECTIONS):
            transport, client = await ws_connect(Waiting, url, ssl_context=certificates.client)
            assert isinstance(client, Waiting)
            for message in (b"%d" % n * 10, b"%d" % n * 20_000):
                transport.send(WSMsgType.BINARY, message)
                must(await client.frames.get() == message, "an echo is not what was sent")
            transport.disconnect()
            await transport.wait_disconnected()
        server.close()
        await server.wait_closed()


def codes(listener: type) -> Iterator[types.CodeType]:
    """Find the callbacks of a listener's class."""
    for name, value in vars(listener).items():
        if name.startswith("on_ws_") or name.endswith("_writing"):
            yield value.__code__
