"""What the conformance suite talks to: an echo of whole messages, and what both sides share."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from typing import Any

from picows_c import PermessageDeflate, WSFrame, WSListener, WSMsgType, WSTransport

# Group 9 sends messages of 16 MiB; groups 12 and 13 ask for compression, with whatever window.
SIZE = 16 * 1024 * 1024
OPTIONS: dict[str, Any] = {
    "assemble_messages": True,
    "max_frame_size": SIZE,
    "max_message_size": SIZE,
    # The suite writes its reports between two connections, for as long as it likes.
    "websocket_handshake_timeout": None,
    "compression": PermessageDeflate(
        server_max_window_bits=None, client_max_window_bits=15, threshold=0
    ),
}


class EchoListener(WSListener):
    """Answers each message with itself; the library does the rest."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


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
