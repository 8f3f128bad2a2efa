"""The client: lines become messages, and what goes either way is shown."""

from __future__ import annotations

import argparse
import asyncio
import codecs
import contextlib
import os
import sys
import threading
import time
from typing import Any, Optional

from picows_c import WSCloseCode, WSFrame, WSListener, WSMsgType, WSProtocolError, WSTransport

from . import connecting
from .problems import FAILED, USAGE, Problem, end_of

DESCRIPTION = """\
Connect to a WebSocket server. Each line of the standard input is sent as a TEXT message; what goes
either way is printed: seconds since the connection was opened, direction, type, size, payload. At
the end of the input, and at Ctrl-C, the connection is closed.
"""
SLASH_HELP = """\
/ping [TEXT]             a PING; its round trip is shown
/pong [TEXT]             a PONG
/hex 00 01 ff            a BINARY message
/close [CODE [REASON]]   CLOSE
//...                    a TEXT message that begins with a slash"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the client's options."""
    connecting.add_options(parser)
    parser.add_argument(
        "--keep-open", action="store_true", help="go on receiving at the end of the input"
    )
    parser.add_argument(
        "--ping", metavar="SECONDS", type=float, help="ping so often and show the round trip"
    )
    parser.add_argument(
        "--slash",
        action="store_true",
        help="lines may be commands, such as /ping; /help lists them",
    )
    parser.add_argument(
        "--frames", action="store_true", help="show each frame as it comes, not whole messages"
    )
    parser.add_argument("--full", action="store_true", help="show whole payloads")
    parser.add_argument(
        "--max-message-size",
        metavar="BYTES",
        type=int,
        default=64 << 20,
        help="larger messages end the connection (64 MiB)",
    )


# ---- what is shown ----


def preview(kind: WSMsgType, payload: bytes, full: bool) -> str:
    """Show a payload: text as Python writes a str, everything else as hexadecimal numbers."""
    limit = len(payload) if full else 200 if kind == WSMsgType.TEXT else 32
    shown = payload[:limit]
    more = "" if len(payload) <= limit else " ..."
    if kind in (WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG):
        decoder = codecs.getincrementaldecoder("utf-8")()
        with contextlib.suppress(UnicodeDecodeError):
            # A character that is cut through at the limit is left away.
            return repr(decoder.decode(shown, final=not more)) + more
    return shown.hex(" ") + more


class Screen:
    """Prints a line for each thing that happens."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.began = time.perf_counter()
        self._full = options.full
        self.is_broken = False

    def line(self, sign: str, text: str) -> None:
        """Print what happened."""
        seconds = time.perf_counter() - self.began
        try:
            print(f"{seconds:10.4f}  {sign}  {text}", flush=True)
        except BrokenPipeError:
            # Whoever read it has seen enough. (And Python flushes once more at its end.)
            self.is_broken = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def frame(self, sign: str, kind: WSMsgType, payload: bytes, note: str = "") -> None:
        """Print a frame or message."""
        size = f"{len(payload):,} byte{'' if len(payload) == 1 else 's'}"
        shown = preview(kind, payload, self._full) if payload else ""
        self.line(sign, f"{kind.name:<6} {size:>12}{note}  {shown}".rstrip())

    def close(self, sign: str, code: int, reason: Optional[str]) -> None:
        """Print a CLOSE."""
        shown = "" if reason is None else f"  {reason!r}"
        name = f"{code} {WSCloseCode(code).name}" if code else "without a code"
        self.line(sign, f"CLOSE  {name}{shown}")


# ---- the connection ----


class Talk(WSListener):
    """Shows what comes."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Say what was agreed on."""
        self.screen.began = time.perf_counter()
        assert transport.response is not None
        headers = transport.response.headers
        agreed = [f"subprotocol {transport.subprotocol}"] if transport.subprotocol else []
        agreed += headers.getall("Sec-WebSocket-Extensions", [])
        self.screen.line("*", "; ".join(["connected", *agreed]))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Show a frame or message; answer a PING, which the library would otherwise do unseen."""
        if frame.msg_type == WSMsgType.CLOSE:
            self.screen.close("<", frame.get_close_code(), frame.get_close_reason())
        else:
            payload = frame.get_payload_as_bytes()
            note = "" if frame.fin else ", more to come"
            self.screen.frame("<", frame.msg_type, payload, note)
            if frame.msg_type == WSMsgType.PING:
                transport.send_pong(payload)
                self.screen.frame(">", WSMsgType.PONG, payload)
        if self.screen.is_broken:
            transport.disconnect()


class Conversation:
    """One connection and the lines that go into it."""

    def __init__(self, transport: WSTransport, screen: Screen, has_commands: bool) -> None:
        self._transport = transport
        self._screen = screen
        self._has_commands = has_commands
        self._pings: set[asyncio.Task[None]] = set()

    async def take(self, line: str) -> None:
        """Send a line, or do what it says."""
        if self._has_commands and line.startswith("/"):
            if not line.startswith("//"):
                self._command(line[1:])
                return
            line = line[1:]
        self._send(WSMsgType.TEXT, line.encode())
        await self._transport.drain()

    def _send(self, kind: WSMsgType, payload: bytes) -> None:
        self._screen.frame(">", kind, payload)
        self._transport.send(kind, payload)

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        try:
            if name == "ping":
                self._send(WSMsgType.PING, rest.encode()) if rest else self.ping()
            elif name == "pong":
                self._send(WSMsgType.PONG, rest.encode())
            elif name == "hex":
                self._send(WSMsgType.BINARY, bytes.fromhex(rest))
            elif name == "close":
                code, _, reason = rest.partition(" ")
                self.close(int(code) if code else WSCloseCode.OK, reason or None)
            else:
                for each in SLASH_HELP.splitlines():
                    self._screen.line("*", each)
        except ValueError as error:
            self._screen.line("*", f"not sent: {error}")

    def close(self, code: int = WSCloseCode.OK, reason: Optional[str] = None) -> None:
        """Begin the closing handshake; the second call does nothing."""
        if self._transport.is_close_frame_sent or self._transport.is_disconnected:
            return
        self._transport.send_close(code, reason)
        self._screen.close(">", code, reason)

    def ping(self) -> None:
        """Ping, and show the round trip when the answer comes."""
        task = asyncio.ensure_future(self._ping())
        self._pings.add(task)
        task.add_done_callback(self._pings.discard)

    async def _ping(self) -> None:
        # Where it never comes, the connection's end ends the wait.
        with contextlib.suppress(ConnectionError):
            (seconds,) = await self._transport.measure_roundtrip_time(1)
            self._screen.line("<", f"PONG   round trip {seconds * 1e3:.3f} ms")

    async def ping_every(self, seconds: float) -> None:
        """Ping again and again, one after the other."""
        while True:
            await self._ping()
            await asyncio.sleep(seconds)


class Lines(threading.Thread):
    """Reads lines from the standard input; each is taken before the next is read."""

    # A terminal, a pipe, a file: event loops can watch only some of them, and on some systems none.
    def __init__(self, conversation: Conversation, ends: bool) -> None:
        super().__init__(daemon=True)
        self._loop = asyncio.get_running_loop()
        self._conversation = conversation
        self._ends = ends

    def run(self) -> None:
        """Read until the end of the input, or of the loop."""
        # (The loop may be gone at any time.)
        with contextlib.suppress(RuntimeError, asyncio.CancelledError, OSError):
            rest = b""
            # Not sys.stdin, whose lock this thread would hold when the interpreter ends.
            while chunk := os.read(0, 1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(line)
            if rest:
                self._take(rest)
            if self._ends:
                self._loop.call_soon_threadsafe(self._conversation.close)

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        asyncio.run_coroutine_threadsafe(self._conversation.take(text), self._loop).result()


async def main(options: argparse.Namespace, stop: asyncio.Event) -> int:
    """Talk until either side ends it. Returns the exit code."""
    if options.frames and options.compression:
        raise Problem("--frames and --compression: messages are compressed as a whole", USAGE)
    if options.ping is not None and not options.ping > 0:
        raise Problem("--ping: a time above 0", USAGE)
    screen = Screen(options)
    more: dict[str, Any] = {"enable_auto_pong": False, "max_frame_size": options.max_message_size}
    if not options.frames:
        more.update(assemble_messages=True, max_message_size=options.max_message_size)
    transport, _ = await connecting.connect(lambda: Talk(screen), options, stop, **more)
    conversation = Conversation(transport, screen, options.slash)
    Lines(conversation, not options.keep_open).start()
    tasks = [asyncio.ensure_future(_close_when(stop, conversation))]
    if options.ping is not None:
        tasks.append(asyncio.ensure_future(conversation.ping_every(options.ping)))
    try:
        await transport.wait_disconnected()
    except WSProtocolError as error:
        screen.line("*", f"the peer broke the protocol: {error}")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if screen.is_broken:
        return FAILED
    text, exit_code = end_of(transport.disconnect_cause)
    screen.line("*", f"closed {text}" if exit_code == 0 else f"ended: {text}")
    return exit_code


async def _close_when(stop: asyncio.Event, conversation: Conversation) -> None:
    await stop.wait()
    conversation.close()
