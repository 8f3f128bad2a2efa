"""The echo server."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from typing import Any, Optional

from picows_c import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSServer,
    WSTransport,
    ws_create_server,
    ws_create_unix_server,
)

from .problems import USAGE, Problem, end_of

DESCRIPTION = """\
Answer each message with itself, on any path. Connections are told on the standard error. Ctrl-C
closes them with 1001 and ends the server.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the server's options."""
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=9001, help="the port; 0 for a free one (9001)")
    parser.add_argument("--unix", metavar="PATH", help="listen on a unix socket instead")
    parser.add_argument("--cert", metavar="FILE", help="serve wss with this certificate")
    parser.add_argument("--key", metavar="FILE", help="its key, where it is in another file")
    parser.add_argument(
        "-z", "--compression", action="store_true", help="agree to permessage-deflate (RFC 7692)"
    )
    parser.add_argument(
        "-s",
        "--subprotocol",
        metavar="NAME",
        action="append",
        default=[],
        help="a subprotocol that is spoken, the preferred one first; may be repeated",
    )
    parser.add_argument(
        "--max-message-size",
        metavar="BYTES",
        type=int,
        default=64 << 20,
        help="larger messages end a connection (64 MiB)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="tell nothing of connections")


class Echo(WSListener):
    """Answers each message with itself."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._who = ""
        self._transport: Optional[WSTransport] = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Tell who came."""
        self._transport = transport
        if not self._quiet:
            peer = transport.underlying_transport.get_extra_info("peername")
            self._who = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix socket"
            _tell(f"{self._who} connected")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Send it back."""
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            transport.send(frame.msg_type, frame, frame.fin)

    # A client that does not read what it gets is not read from until it does.
    def pause_writing(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell how it ended."""
        self._transport = None
        if not self._quiet:
            stats = transport.stats
            text, exit_code = end_of(transport.disconnect_cause)
            how = "closed" if exit_code == 0 else "ended:"
            _tell(f"{self._who} {how} {text}; {stats.messages_received:,} messages")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def main(options: argparse.Namespace, stop: asyncio.Event) -> int:
    """Serve until it is stopped. Returns the exit code."""
    server = await _listen(options)
    scheme = "wss" if options.cert else "ws"
    if options.unix:
        print(f"listening on {options.unix}", flush=True)
    for sock in server.sockets if not options.unix else ():
        host, port = sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"listening on {scheme}://{shown}:{port}/", flush=True)
    async with server:
        await stop.wait()
        left = server.stats.open
        unanswered = await server.close_gracefully(WSCloseCode.GOING_AWAY, 5, "shutdown")
    print(f"stopped; connections closed: {left}, without an answer: {unanswered}", flush=True)
    return 0


async def _listen(options: argparse.Namespace) -> WSServer:
    more: dict[str, Any] = {
        "ssl": make_context(options),
        "subprotocols": options.subprotocol or None,
        "compression": options.compression,
        "assemble_messages": options.compression,
        "max_frame_size": options.max_message_size,
        "max_message_size": options.max_message_size,
    }
    where = options.unix or f"{options.host}:{options.port}"
    try:
        if options.unix:
            return await ws_create_unix_server(lambda _: Echo(options.quiet), options.unix, **more)
        host, port = options.host, options.port
        return await ws_create_server(lambda _: Echo(options.quiet), host, port, **more)
    except NotImplementedError as error:
        raise Problem(str(error), USAGE) from error
    except OSError as error:
        raise Problem(f"cannot listen on {where}: {error.strerror or error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise Problem(str(error), USAGE) from error


def make_context(options: argparse.Namespace) -> Optional[ssl.SSLContext]:
    """Return the context for wss, None for ws. Raises Problem."""
    if not options.cert:
        if options.key:
            raise Problem("--key needs --cert", USAGE)
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.cert, options.key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (options.cert, options.key)))
        raise Problem(f"{files}: {error.strerror or error}", USAGE) from error
    return context
