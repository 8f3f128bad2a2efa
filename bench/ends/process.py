"""How a process of a benchmark speaks with whoever started it, by lines."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import sys
from typing import Any, NoReturn, Optional


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


async def line() -> str:
    """Wait for a line of standard input; "" at its end."""
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def finish(figures: dict[str, Any]) -> None:
    """Print a server's figures and wait to be ended: its connections end with the client."""
    say(figures)
    while await line():
        pass


def leave(figures: dict[str, Any]) -> NoReturn:
    """Print a client's figures and end at once: whoever sends to it may go on for ever."""
    say(figures)
    os._exit(0)


def resident() -> int:
    """Return the bytes of this process that are in memory (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def weigh(port: int) -> None:
    """Print the port, and the memory for each line that comes."""
    say(port)
    while await line():
        gc.collect()
        say(resident())


def server_context(args: Any) -> Optional[ssl.SSLContext]:
    if not args.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args.cert, args.key)
    return context


def client_context(args: Any) -> Optional[ssl.SSLContext]:
    return ssl.create_default_context(cafile=args.cert) if args.cert else None


def url(args: Any) -> str:
    return f"{'wss' if args.cert else 'ws'}://127.0.0.1:{args.port}/"
