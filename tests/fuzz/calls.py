"""Random sequences of calls on the extension, with a scripted peer.

    python tests/fuzz/calls.py [--seconds 60] [--first SEED] [--loops asyncio uvloop]
    python tests/fuzz/calls.py --seed SEED [--loops LOOP] [--trace]
    python tests/fuzz/calls.py --replay

Each seed is a session (session.py): client or server, plain or TLS, either way of the bytes, any
options, random calls inside of callbacks and outside, a peer that sends valid bytes and others
(script.py). Checked are: no crash, one on_ws_disconnected for each on_ws_connected, what the peer
received (wireparse.py), what was delivered, kept frames, tasks, timers, descriptors, references.

A process runs many sessions; the one that crashed, hung or was wrong is named by its seed, with
the calls that it made. --trace prints each call before it is made. --replay runs the seeds of
tests/fuzz/corpus/calls.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import importlib.util
import logging
import os
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Optional

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]
if "picows_c" not in sys.modules and importlib.util.find_spec("picows_c") is None:
    sys.path.append(str(ROOT))

import hooks  # noqa: E402
from session import Session  # noqa: E402

import picows_c  # noqa: E402

SESSION_TIMEOUT = 240.0
# After so many sessions a process looks for what has piled up, and after so many it ends.
CHECK_EVERY, BATCH = 20, 200


class Certificates:
    """Contexts for both sides of TLS on 127.0.0.1."""

    def __init__(self) -> None:
        import trustme

        self._authority = trustme.CA()
        self._certificate = self._authority.issue_cert("127.0.0.1")
        self._hooked: dict[str, tuple[ssl.SSLContext, ssl.SSLContext]] = {}
        self.server, self.client = self._pair()

    def _pair(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(server)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(client)
        return server, client

    def hooked(self, kind: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Return a server's and a client's that call back (hooks.py)."""
        if kind not in self._hooked:
            server, client = self._pair()
            self._hooked[kind] = hooks.hook(server, kind), hooks.hook(client, kind)
        return self._hooked[kind]


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def references() -> list[int]:
    core = picows_c._core
    return [sys.getrefcount(t) for t in (core.WSFrame, picows_c.WSTransport, core.Deflate)]


def run_session(seed: int, kind: str, certificates: Certificates, trace: bool) -> Optional[str]:
    """Return None, or what was wrong and the calls that were made."""
    loop = new_loop(kind)
    problems: list[str] = []

    def unhandled(_: object, context: dict[str, Any]) -> None:
        # The loops' own TLS tells a protocol that they let go of already.
        is_theirs = type(context.get("protocol")).__name__ == "SSLProtocol"
        if not is_theirs and not session.moves.expects(context):
            problems.append(f"unhandled in the loop: {context}")
            running.cancel()  # somebody may wait for what will not come

    session = Session(seed, certificates, trace)
    running = loop.create_task(session.run())
    loop.set_exception_handler(unhandled)
    faulthandler.dump_traceback_later(SESSION_TIMEOUT, exit=True)
    try:
        loop.run_until_complete(running)
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        if left:
            problems.append(f"tasks left: {left}")
        gc.collect()
        loop.run_until_complete(asyncio.sleep(0))
    except (Exception, asyncio.CancelledError):
        problems.insert(0, traceback.format_exc())
    finally:
        faulthandler.cancel_dump_traceback_later()
        with contextlib.suppress(Exception):
            loop.close()
    problems += [f"wrong: {error!r}" for error in session.problems]
    if not problems:
        return None
    calls = "\n".join(f"  {line[:300]}" for line in session.log[-400:])
    return f"{calls}\n" + "\n".join(problems)


def inside(args: argparse.Namespace) -> int:
    """Run sessions in this process; the last line on stdout is the seed at work."""
    faulthandler.enable()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    certificates = Certificates()
    deadline = time.monotonic() + args.seconds
    # The first sessions import and cache.
    for warm in [*range(-3, 0), *range(-50, 0, 5)]:
        for kind in args.loops:
            run_session(warm, kind, certificates, False)
    gc.collect()
    gc.freeze()
    open_before, held_before = descriptors(), references()
    for n, seed in enumerate(args.seeds, 1):
        for kind in args.loops if args.both else [args.loops[seed % len(args.loops)]]:
            print(f"{seed} {kind}", flush=True)
            wrong = run_session(seed, kind, certificates, args.trace)
            if wrong is None and descriptors() > open_before:
                gc.collect()  # a closed loop is a cycle, and uvloop's keeps one until it goes
            if wrong is None and descriptors() > open_before:
                wrong = f"{descriptors() - open_before} descriptors are left open"
            if wrong is not None:
                print(wrong, file=sys.stderr)
                print(f"WRONG: seed {seed} on {kind}: {wrong.splitlines()[-1]}", file=sys.stderr)
                return 1
        if n % CHECK_EVERY == 0:
            gc.collect()
            grown = [now - then for now, then in zip(references(), held_before)]
            if any(g > 0 for g in grown):
                message = (
                    f"objects left after seeds {args.seeds[max(0, n - CHECK_EVERY)]} to {seed}"
                )
                print(f"WRONG: {message}: {grown}", file=sys.stderr)
                return 1
        if time.monotonic() > deadline:
            break
    return 0


def run_batch(seeds: list[int], args: argparse.Namespace, seconds: float, both: bool) -> int:
    """Run seeds in a process of their own; return how many were run, -1 where one was wrong."""
    command = [sys.executable, __file__, "--inside", "--seconds", str(seconds)]
    command += ["--loops", *args.loops, "--seeds", *map(str, seeds)]
    command += ["--both"] * both + ["--trace"] * args.trace
    with tempfile.TemporaryFile("w+") as out:
        status = subprocess.run(command, check=False, stdout=out).returncode
        out.seek(0)
        seen = out.read().split("\n")[:-1]
    if status != 0:
        last = seen[-1] if seen else "none"
        print(f"FAIL calls: status {status}; the last seed and loop: {last}")
        print(f"again: python tests/fuzz/calls.py --seed {last.replace(' ', ' --loops ')} --trace")
        return -1
    return len(seen)


def corpus() -> list[int]:
    text = (HERE / "corpus" / "calls").read_text()
    return [int(word) for line in text.splitlines() for word in line.partition("#")[0].split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=int, help="the first seed; any number by default")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--loops", nargs="+", default=None)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--both", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, nargs="*", help=argparse.SUPPRESS)
    args: Any = parser.parse_args()
    if args.loops is None:
        has_uvloop = importlib.util.find_spec("uvloop") is not None
        args.loops = ["asyncio", "uvloop"] if has_uvloop else ["asyncio"]
    if args.inside:
        sys.exit(inside(args))
    if args.seed is not None or args.replay:
        seeds = corpus() if args.replay else [args.seed]
        count = run_batch(seeds, args, 3600.0, True)
        if count < 0:
            sys.exit(1)
        print(f"PASS calls: {count} sessions")
        return
    first = args.first if args.first is not None else int.from_bytes(os.urandom(4), "big")
    print(f"---- calls, {args.seconds:g} s from seed {first}", flush=True)
    begun, total = time.monotonic(), 0
    while (left := begun + args.seconds - time.monotonic()) > 0:
        count = run_batch(list(range(first + total, first + total + BATCH)), args, left, False)
        if count < 0:
            sys.exit(1)
        total += count
        print(f"{time.monotonic() - begun:6.0f} s: {total} sessions", flush=True)
    print(f"PASS calls: {total} sessions")


if __name__ == "__main__":
    main()
