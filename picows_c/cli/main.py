"""Which command it is, and what an exit code says."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from picows_c import PICOWS_DEBUG_LL, __version__

from . import bench, serve, talk
from .problems import FAILED, INTERRUPTED, USAGE, Problem
from .running import add_loop_option, run

PROG = "python -m picows_c"
COMMANDS: dict[str, Any] = {"serve": serve, "bench": bench}

EPILOG = f"""\
other commands:
  {PROG} serve    an echo server
  {PROG} bench    how fast a server echoes

exit codes: 0 all went well, {FAILED} no connection, or it was lost,
{USAGE} the command line is wrong, {INTERRUPTED} interrupted
"""


def make_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command; the client's has no name."""
    command = COMMANDS.get(name, talk)
    parser = argparse.ArgumentParser(
        prog=f"{PROG} {name}".rstrip(),
        description=command.DESCRIPTION,
        epilog=None if name else EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_options(parser)
    add_loop_option(parser)
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="log what the library does; twice: each frame, too",
    )
    if not name:
        parser.add_argument("--version", action="version", version=f"picows_c {__version__}")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    name = argv[0] if argv and argv[0] in COMMANDS else ""
    options = make_parser(name).parse_args(argv[1:] if name else argv)
    if options.verbose:
        level = logging.INFO if options.verbose == 1 else PICOWS_DEBUG_LL
        logging.basicConfig(level=level, format="%(asctime)s %(name)s: %(message)s")
    # What a peer sends is shown, whatever the terminal can show.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    command = COMMANDS.get(name, talk)
    try:
        return run(lambda stop: command.main(options, stop), options.loop)
    except Problem as problem:
        sign = "" if problem.exit_code == INTERRUPTED else "error: "
        print(f"{sign}{problem}", file=sys.stderr)
        return problem.exit_code
    except BrokenPipeError:
        # Whoever read it has seen enough. (And Python flushes once more at its end.)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
