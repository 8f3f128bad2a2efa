"""The options of ws_connect() on the command line."""

from __future__ import annotations

import argparse
import asyncio
import ssl
from typing import Any, Optional

from picows_c import WSListener, WSTransport, ws_connect

from .problems import USAGE, Problem, explain
from .running import unless_stopped


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what concerns the connection."""
    parser.add_argument(
        "url", metavar="URL", help="ws://[user:password@]host[:port]/path or wss://..."
    )
    handshake = parser.add_argument_group("handshake")
    handshake.add_argument(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        type=_header,
        action="append",
        default=[],
        help="a header of the request; may be repeated",
    )
    handshake.add_argument(
        "-s",
        "--subprotocol",
        metavar="NAME",
        action="append",
        default=[],
        help="a subprotocol to offer, the preferred one first; may be repeated",
    )
    handshake.add_argument("--origin", help="the value of Origin, as a browser sends it")
    handshake.add_argument("--user-agent", help="the value of User-Agent")
    handshake.add_argument(
        "-z", "--compression", action="store_true", help="offer permessage-deflate (RFC 7692)"
    )
    handshake.add_argument(
        "--max-redirects", metavar="N", type=int, default=5, help="redirects that are followed (5)"
    )
    way = parser.add_argument_group("the way to the server")
    way.add_argument(
        "--open-timeout",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="for all of it, until the handshake is done (10)",
    )
    way.add_argument("--proxy", metavar="URL", help='a proxy; "env" for that of the environment')
    way.add_argument("--unix", metavar="PATH", help="connect to this unix socket")
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--insecure", action="store_true", help="accept any certificate")
    tls.add_argument("--ca", metavar="FILE", help="trust the authorities of this file")
    tls.add_argument("--cert", metavar="FILE", help="a certificate of our own")
    tls.add_argument("--key", metavar="FILE", help="its key, where it is in another file")
    tls.add_argument("--server-name", metavar="NAME", help="the name that the certificate is for")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("a header is 'Name: value'")  # it may hold a secret
    return name.strip(), value.strip()


async def connect(
    factory: Any, options: argparse.Namespace, stop: asyncio.Event, **more: Any
) -> tuple[WSTransport, WSListener]:
    """Connect as the options say. Raises Problem."""
    arguments: dict[str, Any] = {
        "open_timeout": options.open_timeout,
        "websocket_handshake_timeout": None,
        "extra_headers": options.header or None,
        "subprotocols": options.subprotocol,
        "origin": options.origin,
        "user_agent": options.user_agent,
        "max_redirects": options.max_redirects,
        "proxy": True if options.proxy == "env" else options.proxy,
        "unix_path": options.unix,
        "compression": options.compression,
        "ssl_context": make_context(options),
        "server_hostname": options.server_name,
        **more,
    }
    try:
        return await unless_stopped(ws_connect(factory, options.url, **arguments), stop)
    except Problem:
        raise
    except Exception as error:
        raise explain(error, options.url) from error


def make_context(options: argparse.Namespace) -> Optional[ssl.SSLContext]:
    """Return a context where the options ask for one of their own. Raises Problem."""
    if not (options.insecure or options.ca or options.cert or options.key):
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca)
        if options.cert:
            context.load_cert_chain(options.cert, options.key)
        elif options.key:
            raise Problem("--key needs --cert", USAGE)
    except (OSError, ssl.SSLError) as error:
        # (What OpenSSL finds wrong in a file names no file.)
        files = ", ".join(filter(None, (options.ca, options.cert, options.key)))
        raise Problem(f"{files}: {error.strerror or error}", USAGE) from error
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
