"""One process of a benchmark: a server or a client of one library.

A server prints its port, and then, as a client does, one line of JSON with its figures. It ends
with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys

# Whose API a library has.
ENDS = {
    "picows_c": "listeners",
    "picows": "listeners",
    "websockets": "connections",
    "picows.websockets": "connections",
    "aiohttp": "http",
    "asyncio": "alone",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role")
    parser.add_argument("library", choices=ENDS)
    parser.add_argument("loop", choices=["asyncio", "uvloop"])
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--port", type=int)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--bystander", action="store_true")
    parser.add_argument("--cert", default="")
    parser.add_argument("--key", default="")
    args = parser.parse_args()
    ends = importlib.import_module(f"ends.{ENDS[args.library]}")
    work = ends.ROLES[args.role](importlib.import_module(args.library), args)
    if args.loop == "uvloop":
        importlib.import_module("uvloop").run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    # This folder comes last: it must not shadow a library.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path = [*(entry for entry in sys.path if entry != folder), folder]
    main()
