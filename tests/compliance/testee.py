"""What the conformance suite talks to: an echo of whole messages, and what both sides share.

picows_c delivers frames; here they become messages, in Python: fragments are put together, and text
is checked as it comes, so that the first byte that is not UTF-8 ends the connection with 1007.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
import sys
import threading
from typing import Any, Optional

from picows_c import WSCloseCode, WSFrame, WSListener, WSMsgType, WSProtocolError, WSTransport

# Group 9 sends messages of 16 MiB in one frame.
MAX_FRAME_SIZE = 16 * 1024 * 1024

_new_decoder = codecs.getincrementaldecoder("utf-8")


class MessageListener(WSListener):
    """Puts frames together and hands whole messages to on_message()."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._kind = WSMsgType.BINARY
        self._decoder: Optional[codecs.IncrementalDecoder] = None

    def on_message(self, transport: WSTransport, kind: WSMsgType, message: bytes) -> None:
        raise NotImplementedError

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._kind = kind
            self._decoder = _new_decoder() if kind == WSMsgType.TEXT else None
        elif kind != WSMsgType.CONTINUATION:
            return  # PONG; CLOSE, which the library answers
        part = frame.get_payload_as_bytes()
        if self._decoder is not None:
            try:
                self._decoder.decode(part, frame.fin)
            except UnicodeDecodeError as error:
                raise WSProtocolError(WSCloseCode.INVALID_TEXT, error.reason) from error
        self._parts.append(part)
        if frame.fin:
            message = part if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            self.on_message(transport, self._kind, message)


class EchoListener(MessageListener):
    def on_message(self, transport: WSTransport, kind: WSMsgType, message: bytes) -> None:
        transport.send(kind, message)


def run(main: Any, loop_kind: str) -> None:
    """Run a coroutine on a new loop; the exit status is 1 if the loop had to report something."""
    # What the suite does wrong on purpose is logged as an error each time; only what nobody
    # expects is for the eye.
    logging.basicConfig(level=logging.CRITICAL)
    if loop_kind == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    problems = 0

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal problems
        problems += 1
        print(f"unhandled in the loop: {context}", file=sys.stderr)

    loop.set_exception_handler(note)
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
    if problems:
        sys.exit(1)


def end_of_stdin() -> asyncio.Event:
    """Return an event that is set when the parent closes our stdin, or has died."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def wait() -> None:
        # Unbuffered: the thread may hold no lock when the interpreter ends before it.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        loop.call_soon_threadsafe(event.set)

    threading.Thread(target=wait, daemon=True).start()
    return event
