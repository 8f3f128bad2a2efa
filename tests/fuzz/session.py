"""One session of random calls: connections of ours with scripted peers, and what must hold.

All that is random comes from the seed; what the system does in between (how bytes are cut, which
side is first) does not.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import logging
import os
import random
import socket
import threading
from collections.abc import Iterator
from typing import Any, Callable

import foreign
import hooks
from moves import Moves, codes, entries
from script import Peer, Tunnel, payload_of
from wireparse import CONTINUATION, DATA, PING, Inflater, must

import picows_c
from picows_c import WSCloseCode, WSListener, WSMsgType, WSProtocolError
from picows_c.poller import poller_of

# What a wrong argument may raise.
REFUSALS = (TypeError, ValueError, OverflowError, BufferError)
PATIENCE = 30.0


class Planned(Exception):
    """Raised by a callback on purpose."""


class Sneaky:
    """An argument that calls the transport while it is converted."""

    def __init__(self, call: Callable[[], object], value: int) -> None:
        self._call, self._value = call, value

    def __index__(self) -> int:
        self._call()
        return self._value

    def __bool__(self) -> bool:
        self._call()
        return bool(self._value)


class Kept:
    """A frame, or a view of it, and what it showed when it came."""

    def __init__(self, frame: Any, rng: random.Random) -> None:
        self.shows = frame.get_payload_as_bytes()
        kind = rng.randrange(3)
        begin = rng.randrange(len(self.shows) + 1)
        self.begin = begin if kind == 2 else 0
        self.what: Any = frame if kind == 0 else memoryview(frame)[self.begin :]

    def check(self) -> None:
        must(bytes(memoryview(self.what)) == self.shows[self.begin :], "a kept frame changed")


class Connection(WSListener):
    """One of ours: a listener that calls its transport, and the model of what must come of it."""

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.rng = random.Random(f"{session.seed}/{number}")
        self.number = number
        self.transport: Any = None
        self.peer = Peer(
            random.Random(f"{session.seed}/{number}/peer"),
            session.role == "server",
            session.options["assemble_messages"],
            self.note,
        )
        self.connected = self.disconnected = 0
        self.sent: list[tuple[int, bytes, bool]] = []
        self.pings: list[bytes] = []
        # Whether the library sends pings among ours.
        self.others_ping = bool(session.options["enable_auto_ping"])
        self.delivered: list[tuple[int, bytes, bool]] = []
        # So many of them came from the peer alone.
        self.trusted = 1 << 60
        self.kept: list[Kept] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.in_message = False
        self.was_dropped = False
        self.in_watermark = 0
        self.is_finishing = False
        self.depth = 0
        self.lively = self.rng.random()
        if session.moves.acts:
            self.lively = max(self.lively, 0.6)
        self.raises = self.rng.random() < 0.1
        self.gone = asyncio.Event()
        # What the moves need, and whether the stream has another protocol.
        self.stream: Any = None
        self.protocol: Any = None
        self.is_orphan = False

    def note(self, what: str) -> None:
        self.session.note(f"{self.number}: {what}")

    # ---- callbacks ----

    def on_ws_connected(self, transport: Any) -> None:
        self.connected += 1
        self.transport = transport
        self.stream = transport.underlying_transport
        self.protocol = self.stream.get_protocol()
        self.note("on_ws_connected")
        self.some_calls("connected")

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        must(transport is self.transport, "another transport")
        must(self.connected == 1 and self.disconnected == 0, "a frame outside of the connection")
        self.note(f"on_ws_frame {frame!r}")
        if frame.msg_type in DATA:
            payload = frame.get_payload_as_bytes()
            must(len(payload) == frame.payload_size, "payload_size")
            self.delivered.append((int(frame.msg_type), payload, frame.fin))
        if self.rng.random() < 0.3:
            self.kept.append(Kept(frame, self.rng))
        if self.rng.random() < 0.1:
            self.look_at(frame)
        self.some_calls("frame")
        self.session.moves.let_go(self)

    def on_ws_disconnected(self, transport: Any) -> None:
        self.disconnected += 1
        self.note(f"on_ws_disconnected {transport.disconnect_cause}")
        must(transport.is_disconnected, "not is_disconnected")
        must(transport.disconnect_cause is not None, "no cause")
        self.gone.set()
        self.some_calls("disconnected")

    def pause_writing(self) -> None:
        self.note("pause_writing")
        self.watermark()

    def resume_writing(self) -> None:
        self.note("resume_writing")
        self.watermark()

    def watermark(self) -> None:
        # Inside a send(): what is sent here comes behind it on the wire, and is noted before it.
        self.in_watermark += 1
        try:
            self.some_calls("watermark")
        finally:
            self.in_watermark -= 1

    def on_ws_error(self, transport: Any, exc: Exception, where: str) -> None:
        self.note(f"on_ws_error {where} {exc!r}")
        if not isinstance(exc, (Planned, UnicodeDecodeError, WSProtocolError)):
            self.session.wrong(exc)

    def some_calls(self, where: str) -> None:
        if self.depth > 3:
            return
        self.depth += 1
        try:
            while self.rng.random() < 0.4 * self.lively:
                self.call(where)
        finally:
            self.depth -= 1
        if self.raises and self.rng.random() < 0.1:
            self.note(f"raise in {where}")
            if self.rng.random() < 0.3:
                raise WSProtocolError(self.rng.choice([1002, 1008, 3000, 77]), "planned")
            raise Planned(where)

    def look_at(self, frame: Any) -> None:
        for name in dir(frame):
            if not name.startswith("_"):
                value = getattr(frame, name)
                with contextlib.suppress(UnicodeDecodeError, *REFUSALS):
                    if callable(value):
                        value()
        repr(frame), hash(frame), len(memoryview(frame))
        must(memoryview(frame).readonly or True, "view")

    # ---- calls ----

    def call(self, where: str) -> None:
        """Make one random call on the transport, or on what it handed out."""
        if self.session.moves.take(self, where):
            return
        calls: list[tuple[int, Callable[[], object]]] = [
            (10, self.send_data),
            (3, self.send_reused),
            (2, self.send_ping),
            (2, lambda: self.transport.send_pong(self.rng.randbytes(self.rng.choice([0, 5, 125])))),
            (4, self.wrong),
            (3, self.corked),
            (3, self.pause),
            (2, self.properties),
            (2, self.drop_kept),
            (2, self.watch_kept),
            (2, self.task),
            (1, self.limits),
            (1, self.sneak),
            (1, self.elsewhere),
            (1, gc.collect),
        ]
        if self.rng.random() < 0.15:
            calls += [(8, self.close), (6, self.disconnect), (1, self.underlying)]
        weights = [weight for weight, _ in calls]
        chosen = self.rng.choices([call for _, call in calls], weights)[0]
        name = getattr(chosen, "__name__", "?")
        if self.in_watermark and chosen in (
            self.send_data,
            self.send_ping,
            self.send_reused,
            self.corked,
            self.sneak,
        ):
            return
        if self.session.moves.hook is not None and chosen == self.sneak:
            return  # it is noted behind what is sent from inside of it
        self.note(f"call {name} in {where}")
        with self.may_be_lost():
            chosen()

    @contextlib.contextmanager
    def may_be_lost(self) -> Iterator[None]:
        """Allow for a connection that is lost inside of TLS, which is inside of the call."""
        try:
            yield
        except ConnectionResetError:
            if self.session.moves.hook is None or not self.disconnected:
                raise

    def message(self) -> tuple[int, bool, bytes]:
        if self.in_message:
            opcode = CONTINUATION
        else:
            opcode = self.rng.choice([WSMsgType.TEXT, WSMsgType.BINARY])
        return opcode, self.rng.random() < 0.7, payload_of(self.rng, opcode == WSMsgType.TEXT)

    def argument(self, opcode: int, payload: bytes) -> Any:
        """Return the payload as one of the types that send() takes."""
        kinds: list[Callable[[], Any]] = [
            lambda: payload,
            lambda: bytearray(payload),
            lambda: memoryview(payload),
            lambda: memoryview(b"12" + payload + b"3")[2:-1],
            lambda: array.array("B", payload),
        ]
        if opcode == WSMsgType.TEXT:
            kinds += [payload.decode] * 3
        if not payload:
            kinds.append(lambda: None)
        if self.kept and self.rng.random() < 0.2:
            same = [kept for kept in self.kept if kept.shows[kept.begin :] == payload]
            kinds += [lambda: same[0].what] if same else []
        return self.rng.choice(kinds)()

    def send_data(self) -> None:
        opcode, fin, payload = self.message()
        if self.kept and self.rng.random() < 0.15:
            kept = self.rng.choice(self.kept)
            if opcode != WSMsgType.TEXT and len(kept.shows) < 100_000:
                payload = kept.shows[kept.begin :]
        self.note(f"send {opcode} {len(payload)} fin={fin}")
        argument = self.argument(opcode, payload)
        # (Before it is sent: what TLS sends from inside of that comes behind it.)
        self.note_sent(opcode, payload, fin)
        if self.rng.random() < 0.5 and fin:
            self.transport.send(opcode, argument)
        else:
            self.transport.send(opcode, argument, fin)

    def send_reused(self) -> None:
        opcode, fin, payload = self.message()
        offset = self.rng.choice([14, 15, 20, 100])
        buffer = bytearray(offset) + payload
        self.note(f"send_reuse {opcode} {len(payload)} fin={fin}")
        self.note_sent(opcode, payload, fin)
        self.transport.send_reuse_external_bytearray(opcode, buffer, offset, fin)

    def note_sent(self, opcode: int, payload: bytes, fin: bool) -> None:
        self.sent.append((int(opcode), payload, fin))
        self.in_message = not fin

    def send_ping(self) -> None:
        payload = self.rng.randbytes(self.rng.choice([0, 1, 124, 125]))
        self.pings.append(payload)
        self.transport.send_ping(payload or None)

    def close(self) -> None:
        code = self.rng.choice([1000, 1001, 1011, 3000, 4999, WSCloseCode.NO_INFO])
        reason = (
            None if code == WSCloseCode.NO_INFO else self.rng.choice([None, "x", "\u20ac" * 41])
        )
        self.note(f"send_close {code}")
        self.transport.send_close(code, reason)

    def disconnect(self) -> None:
        graceful = self.rng.random() < 0.6
        self.was_dropped |= not graceful or self.session.is_loops_tls
        self.note(f"disconnect {graceful}")
        self.transport.disconnect(graceful)

    def underlying(self) -> None:
        target = self.transport.underlying_transport
        if self.session.way == "loop" and self.in_watermark:
            return  # asyncio's close() inside of resume_writing() loses the connection twice
        self.was_dropped = True
        if self.session.way == "loop" and self.transport.is_disconnected:
            return
        if self.rng.random() < 0.5:
            target.abort()
        else:
            target.close()

    def limits(self) -> None:
        target = self.transport.underlying_transport
        if self.session.way == "loop" and (self.transport.is_disconnected or target.is_closing()):
            return  # asyncio's and uvloop's own transports raise anything then
        if not self.transport.is_disconnected:
            high = self.rng.choice([0, 1, 100, 65536, 1 << 20])
            target.set_write_buffer_limits(high=high)
            target.get_write_buffer_limits() if hasattr(target, "get_write_buffer_limits") else None
        target.get_extra_info("socket"), target.get_extra_info("peername"), target.is_closing()
        repr(target)

    def corked(self) -> None:
        if self.depth > 2:
            return
        self.depth += 1
        try:
            with contextlib.suppress(Planned), self.transport.cork():
                for _ in range(self.rng.randrange(4)):
                    self.call("cork")
                if self.rng.random() < 0.1:
                    raise Planned("cork")
        finally:
            self.depth -= 1

    def pause(self) -> None:
        # Paused for good, a connection does not see its peer's end.
        if self.rng.random() < 0.5 and not self.is_finishing:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def properties(self) -> None:
        for name in dir(type(self.transport)):
            if not name.startswith("_"):
                getattr(self.transport, name)
        repr(self.transport), repr(self.transport.stats)

    def drop_kept(self) -> None:
        if self.kept:
            kept = self.kept.pop(self.rng.randrange(len(self.kept)))
            kept.check()

    def watch_kept(self) -> None:
        for kept in self.kept[-5:]:
            kept.check()

    def task(self) -> None:
        if len(self.tasks) > 5:
            return
        transport, kind = self.transport, self.rng.randrange(4)
        waits = [transport.drain, transport.wait_disconnected, transport.drain]
        if kind == 3:
            task = asyncio.ensure_future(transport.measure_roundtrip_time(1))
            self.others_ping = True
        else:
            task = asyncio.ensure_future(waits[kind]())
        self.tasks.append(task)
        if self.rng.random() < 0.3:
            self.rng.choice(self.tasks).cancel()

    def elsewhere(self) -> None:
        """Call from another thread, or only ask: refused."""
        transport, stream = self.transport, self.stream
        calls: dict[str, Callable[[], object]] = {
            "WSTransport.send": lambda: transport.send(WSMsgType.BINARY, b"x"),
            "WSTransport.stats": lambda: transport.stats,
            "WSTransport.write_buffer_size": lambda: transport.write_buffer_size,
        }
        if isinstance(stream, picows_c._core.Stream):
            calls["Transport.get_protocol"] = stream.get_protocol
            calls["Transport.get_write_buffer_size"] = stream.get_write_buffer_size
        raised: dict[str, BaseException] = {}

        def there() -> None:
            for name, call in calls.items():
                try:
                    call()
                except BaseException as error:
                    raised[name] = error

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        for name in calls:
            error = raised.get(name)
            is_refused = isinstance(error, RuntimeError) and str(error).startswith(name)
            must(is_refused, f"{name} on another thread: {error!r}")

    def sneak(self) -> None:
        """Have the transport called while it converts its arguments."""

        def inside() -> None:
            if self.depth < 3:
                self.depth += 1
                try:
                    self.call("argument")
                finally:
                    self.depth -= 1

        opcode, fin, payload = self.message()
        kind = self.rng.randrange(3)
        in_message = self.in_message
        try:
            if kind == 0:
                self.transport.send(Sneaky(inside, opcode), payload, fin)
            elif kind == 1:
                self.transport.send(opcode, payload, Sneaky(inside, fin))
            else:
                self.transport.send_close(Sneaky(inside, 77))
        except REFUSALS:
            # The message was finished, or begun, meanwhile.
            must(kind == 2 or self.in_message is not in_message, "refused")
            return
        if kind < 2:
            self.note_sent(opcode, payload, fin)

    def wrong(self) -> None:
        """Call with arguments that are refused; nothing is sent."""
        rng, transport = self.rng, self.transport
        over = 1 << 70
        opcode = CONTINUATION if self.in_message else WSMsgType.BINARY
        ordered = WSMsgType.BINARY if self.in_message else CONTINUATION
        released = memoryview(b"abc")
        released.release()
        bad = [None, -1, over, 3.5, "x", object(), [], 16, 255]

        def out_of_order() -> None:
            transport.send(ordered, b"x")

        calls: list[Callable[[], object]] = [
            lambda: transport.send(rng.choice([*bad, 3, 7, 11, 15]), b"x"),
            lambda: transport.send(opcode, rng.choice([1, 3.5, object(), [1], released])),
            lambda: transport.send(opcode, memoryview(b"abcdef")[::2][::-1].cast("B")),
            out_of_order,
            lambda: transport.send(WSMsgType.PING, b"x" * 126),
            lambda: transport.send(WSMsgType.PING, b"x", False),
            lambda: transport.send(opcode, b"x", True, rsv3=True),
            lambda: transport.send(opcode, "\ud800"),
            lambda: transport.send(opcode),
            transport.send,
            lambda: transport.send(opcode, b"x", True, False, False, False, 1),
            lambda: transport.send(opcode, b"x", nonsense=True),
            lambda: transport.send_ping(rng.choice([b"x" * 126, 1, object(), released])),
            lambda: transport.send_pong(rng.choice([b"x" * 126, 1, "\ud800"])),
            lambda: transport.send_close(rng.choice([-1, 999, 1004, 1006, 1015, 5000, over, "x"])),
            lambda: transport.send_close(1000, rng.choice([b"x" * 124, b"\xff", 5, "\ud800"])),
            lambda: transport.send_reuse_external_bytearray(opcode, bytearray(20), 13),
            lambda: transport.send_reuse_external_bytearray(opcode, bytearray(20), 21),
            lambda: transport.send_reuse_external_bytearray(opcode, bytearray(20), over),
            lambda: transport.send_reuse_external_bytearray(opcode, bytearray(20), -1),
            lambda: transport.send_reuse_external_bytearray(opcode, b"x" * 20, 14),
            lambda: transport.send_reuse_external_bytearray(opcode, None, 14),
            type(transport),
            lambda: type(transport)(*[None] * 9),
            picows_c.WSFrame,
        ]
        chosen = rng.randrange(len(calls))
        if self.in_watermark and calls[chosen] is out_of_order:
            return  # the send that filled the buffer is not in the books yet
        was_open = not (transport.is_close_frame_sent or transport.is_disconnected)
        self.note(f"wrong {chosen}")
        try:
            calls[chosen]()
        except REFUSALS:
            return
        # Which calls are silent once nothing can be sent is the library's choice.
        must(not was_open or not self.session_is_up(), f"wrong {chosen} was not refused")

    def session_is_up(self) -> bool:
        cause = self.transport.disconnect_cause
        return cause is None and not self.transport.underlying_transport.is_closing()

    # ---- the end ----

    async def finish(self) -> None:
        """End the connection if nobody has; wait until it has ended, and check what came."""
        rng, transport, peer = self.rng, self.transport, self.peer
        self.is_finishing = peer.is_finishing = True
        peer.gate.set()
        if transport is not None:
            self.note("finish")
            transport.resume_reading()
            self.session.moves.finish(self)
            how = rng.choice([0, 0, 0, 1, 1, 1, 2, 3, 4])
            with self.may_be_lost():
                if how == 0:
                    transport.send_close(1000)
                elif how == 1:
                    self.was_dropped |= self.session.is_loops_tls
                    transport.disconnect()
                elif how == 2:
                    self.was_dropped = True
                    transport.disconnect(False)
                elif how == 3:
                    peer.writer.close()
                else:
                    peer.reset()
            transport.resume_reading()

    def checked_after(self) -> None:
        """Ask everything once more, when it is over."""
        must(self.disconnected == self.connected, f"{self.connected} / {self.disconnected}")
        if self.transport is None:
            return
        for _ in range(5):
            self.call("after")

    def compare(self) -> None:
        """Compare both ends' books."""
        peer = self.peer
        for kept in self.kept:
            kept.check()
        count = min(len(self.delivered), self.trusted)
        if peer.is_broken:
            count = min(count, len(peer.valid))
        must(self.delivered[:count] == peer.valid[:count], "delivered is not what the peer sent")
        got = peer.parser.frames
        messages = Inflater(peer.in_takeover).messages(got)
        wanted, parts, first = [], [], 0
        for opcode, payload, fin in self.sent:
            first, parts = (opcode, [payload]) if opcode else (first, [*parts, payload])
            if fin:
                wanted.append((first, b"".join(parts)))
        if self.session.options["on_write_overflow"] == "drop":
            left = iter(wanted)
            must(all(message in left for message in messages), "received is not what was sent")
        else:
            must(messages == wanted[: len(messages)], "received is not what was sent")
        if not self.others_ping:
            pings = [frame.payload for frame in got if frame.opcode == PING]
            must(pings == self.pings[: len(pings)], "pings")
        # (The short one can end what is still being sent.)
        was_dropped = self.was_dropped or self.session.options["close_timeout"] < 1
        was_dropped |= self.session.overflow.seen
        if peer.clean_end and not peer.parser.compressed and not was_dropped:
            cause = self.transport.disconnect_cause if self.transport else None
            kinds = picows_c.WSDisconnectKind
            if cause is not None and cause.kind in (kinds.PEER_CLOSE, kinds.LOCAL_CLOSE):
                must(not peer.parser.rest, f"the stream ends inside a frame: {cause}")


entries.update(codes(Connection))

LOGGER = logging.getLogger("picows_c.fuzz")
LOGGER.setLevel(logging.WARNING)
LOGGER.propagate = False


class Overflow(logging.Handler):
    """Whether what waited was dropped; the cause of the end may be an earlier one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def emit(self, record: logging.LogRecord) -> None:
        self.seen |= "max_write_buffer_size" in record.getMessage()


class Session:
    """Some connections at a time, all of one kind."""

    def __init__(self, seed: int, certificates: Any, trace: bool) -> None:
        rng = random.Random(seed)
        self.seed = seed
        self.trace = trace
        self.log: list[str] = []
        self.problems: list[BaseException] = []
        self.overflow = Overflow()
        LOGGER.handlers = [self.overflow]
        self.certificates = certificates
        self.role = rng.choice(["server", "client"])
        self.is_tls = rng.random() < 0.3
        self.way = rng.choice(["auto", "auto", "loop"])
        self.moves = Moves(self)
        if self.moves.hook is not None:
            # The loops' own TLS breaks where it is entered twice.
            self.is_tls, self.way = True, "auto"
        # asyncio's and uvloop's TLS drops what waits when the peer sends behind our close_notify.
        self.is_loops_tls = self.is_tls and self.way == "loop"
        self.count = rng.choice([1, 1, 2, 3])
        assembles = rng.random() < 0.5
        self.options: dict[str, Any] = {
            "assemble_messages": assembles,
            "compression": assembles and rng.random() < 0.6,
            "max_frame_size": rng.choice([10, 1000, 1 << 20, 1 << 24]),
            "max_message_size": rng.choice([10, 1000, 1 << 20, 1 << 24]),
            "read_buffer_init_size": rng.choice([1, 300, 4096, 65536]),
            "max_write_buffer_size": rng.choice([None, 1, 1000, 20_000, 200_000]),
            "on_write_overflow": rng.choice(["disconnect", "drop"]),
            "enable_auto_pong": rng.random() < 0.8,
            "disconnect_on_exception": rng.random() < 0.7,
            "close_timeout": rng.choice([0.2, 5.0]),
            "enable_auto_ping": rng.random() < 0.2,
            "auto_ping_idle_timeout": 0.05,
            "auto_ping_reply_timeout": 0.05,
            "logger_name": "fuzz",
            "transport": self.way,
        }
        # Small buffers of the system's, so that bytes wait in ours.
        self.is_narrow = rng.random() < 0.5
        if self.is_narrow:
            self.options["socket_options"] = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)]
        if self.options["compression"] and rng.random() < 0.6:
            self.options["compression"] = picows_c.PermessageDeflate(
                threshold=rng.choice([0, 64, 1000]),
                server_no_context_takeover=rng.random() < 0.3,
                client_no_context_takeover=rng.random() < 0.3,
                server_max_window_bits=rng.choice([None, 9, 12, 15]),
            )
        self.offer = None
        if self.options["compression"]:
            self.offer = rng.choice(
                [
                    "permessage-deflate",
                    "permessage-deflate; client_max_window_bits",
                    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                    "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11",
                ]
            )
        self.contexts = self.moves.contexts(certificates)
        self.note(f"{self.role} tls={self.is_tls} count={self.count} {self.options}")
        self.note(str(self.moves))

    def note(self, what: str) -> None:
        self.log.append(what)
        if self.trace:
            os.write(2, what.encode("utf-8", "backslashreplace") + b"\n")

    def wrong(self, error: BaseException) -> None:
        self.note(f"WRONG {error!r}")
        self.problems.append(error)

    async def run(self) -> None:
        """Run all connections to their end."""
        loop = asyncio.get_running_loop()
        if self.moves.in_threads:
            self.moves.run_threads(self.certificates)
            return
        if self.moves.is_foreign:
            await foreign.run(self.moves.rng)
            return
        self.connections = [Connection(self, number) for number in range(self.count)]
        run = self._run_server if self.role == "server" else self._run_client
        hooks.running = self.moves
        try:
            await run()
            await self._ended(loop)
        finally:
            hooks.running = None

    async def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at what came of it."""
        for connection in self.connections:
            for task in connection.tasks:
                if connection.rng.random() < 0.5:
                    task.cancel()
            done = await asyncio.wait_for(
                asyncio.gather(*connection.tasks, return_exceptions=True), PATIENCE
            )
            for error in done:
                allowed = (asyncio.CancelledError, ConnectionResetError, Planned, WSProtocolError)
                allowed += (UnicodeDecodeError,)
                if isinstance(error, BaseException) and not isinstance(error, allowed):
                    self.wrong(error)
            connection.tasks.clear()
            connection.checked_after()
            connection.compare()
        await self._settled(loop)
        self.moves.check()
        # Frames may be freed on any thread.
        kept = [kept for connection in self.connections for kept in connection.kept]
        for connection in self.connections:
            await asyncio.gather(*connection.tasks, return_exceptions=True)
            connection.kept.clear()
        thread = threading.Thread(target=lambda: [kept.pop().check() for _ in range(len(kept))])
        thread.start()
        thread.join()
        must(not kept, "a kept frame changed, seen on another thread")

    async def _settled(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing of ours may be left in the loop."""
        for _ in range(1000):
            poller = poller_of(loop)
            if poller is None or poller.count == 0:
                break
            await asyncio.sleep(0.001)
        must(poller is None or poller.count == 0, "the poller has sockets left")
        for handle in getattr(loop, "_scheduled", ()):
            owner = getattr(handle._callback, "__self__", None)
            ours = type(owner).__module__.startswith("picows_c")
            ours = ours and not self.moves.may_outlive()
            must(handle.cancelled() or not ours, f"a timer is left: {handle!r}")

    async def _connection(self, connection: Connection, opened: Any) -> None:
        """Let our main program make calls, too, then end it."""
        peer = connection.peer
        try:
            is_open = await asyncio.wait_for(opened, PATIENCE)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            is_open = False
        if not is_open:
            peer.writer.close()
            return
        running = asyncio.ensure_future(peer.run())
        try:
            for _ in range(connection.rng.choice([0, 2, 5, 15])):
                if connection.transport is not None:
                    connection.call("main")
                await asyncio.sleep(0)
            while connection.transport is None and not running.done():
                await asyncio.sleep(0)
            await connection.finish()
            if connection.connected:
                await asyncio.wait_for(connection.gone.wait(), PATIENCE)
            # A peer whose connection was reset hears it; so does one that was closed on.
            peer.gate.set()
            await asyncio.wait_for(running, PATIENCE)
        finally:
            running.cancel()

    async def _run_server(self) -> None:
        waiting = iter(self.connections)
        server = await picows_c.ws_create_server(
            lambda request: next(waiting),
            "127.0.0.1",
            0,
            ssl=self.contexts[0] if self.is_tls else None,
            **self.options,
        )
        port = server.sockets[0].getsockname()[1]
        context = self.certificates.client if self.is_tls else None
        # A refused handshake takes no listener: which peer gets which is told by the order.
        running = []
        try:
            for connection in self.connections:
                peer = connection.peer
                if peer.handshake_is_broken:
                    next(waiting)
                sock = socket.socket()
                if self.is_narrow:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
                peer.reader, peer.writer = await asyncio.open_connection(
                    sock=sock, ssl=context, server_hostname="127.0.0.1" if context else None
                )
                opened = asyncio.ensure_future(peer.open(self.offer))
                running.append(asyncio.ensure_future(self._connection(connection, opened)))
                while not opened.done():
                    await asyncio.sleep(0)
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            server.close()
            server.abort_clients()
            await asyncio.wait_for(server.wait_closed(), PATIENCE)
            await asyncio.gather(*running, return_exceptions=True)

    async def _run_client(self) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        context = self.certificates.server if self.is_tls else None
        listening = socket.create_server(("127.0.0.1", 0))
        if self.is_narrow:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server = await asyncio.start_server(
            lambda *pair: queue.put_nowait(pair), sock=listening, ssl=context
        )
        port = server.sockets[0].getsockname()[1]
        scheme = "wss" if self.is_tls else "ws"
        options = dict(self.options)
        if self.is_tls:
            options["ssl_context"] = self.contexts[1]
        tunnel = Tunnel(self.certificates.server)
        if self.moves.is_proxied:
            options["proxy"] = f"https://127.0.0.1:{await tunnel.listen()}"
            options["proxy_ssl_context"] = self.contexts[2]
        running = []
        try:
            for connection in self.connections:
                connecting = asyncio.ensure_future(
                    picows_c.ws_connect(
                        lambda connection=connection: connection,
                        f"{scheme}://127.0.0.1:{port}/",
                        **options,
                    )
                )
                peer = connection.peer
                arriving = asyncio.ensure_future(queue.get())
                await asyncio.wait(
                    [connecting, arriving], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
                )
                if not arriving.done():
                    arriving.cancel()
                    connecting.cancel()
                    error = (await asyncio.gather(connecting, return_exceptions=True))[0]
                    must(self.moves.may_fail(error), f"nobody came: {error!r}")
                    continue
                peer.reader, peer.writer = arriving.result()
                running.append(
                    asyncio.ensure_future(self._client(connection, connecting, peer.accept()))
                )
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await tunnel.close()
            server.close()
            await server.wait_closed()

    async def _client(self, connection: Connection, connecting: Any, accepted: Any) -> None:
        if connection.rng.random() < 0.03:
            for _ in range(connection.rng.randrange(20)):
                await asyncio.sleep(0)
            connecting.cancel()
        try:
            await self._connection(connection, accepted)
        finally:
            # A broken handshake ends ws_connect with the peer's close.
            result = (await asyncio.gather(connecting, return_exceptions=True))[0]
        allowed = (picows_c.WSError, OSError, asyncio.CancelledError, asyncio.TimeoutError)
        if isinstance(result, BaseException) and not isinstance(result, allowed):
            self.wrong(result)
