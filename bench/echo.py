"""Echo round trips beside picows: rate and CPU, both ends of a connection on one core.

    python bench/echo.py --peer PYTHON_WITH_PICOWS [--rounds 5] [--count 100000] [--size 256]

The libraries take turns (A B A B ...), so that a noisy machine disturbs all of them; what counts
are the medians of the ratios of neighbouring turns. Client and server run on the same core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from typing import Any

WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")
ENDS = ("client", "server")


def contestants(ours: str, peer: str) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Name -> interpreter, module, options."""
    return {
        "picows_c": (ours, "picows_c", {}),
        "picows, aiofastnet": (peer, "picows", {"use_aiofastnet": True}),
        "picows, loop's transports": (peer, "picows", {"use_aiofastnet": False}),
    }


def turn(who: tuple[str, str, dict[str, Any]], loop: str, args: Any) -> dict[str, dict[str, float]]:
    python, library, options = who
    pin = ["taskset", "-c", str(args.core)] if shutil.which("taskset") else []
    base = [*pin, python, WORKER]
    more = ["--options", json.dumps(options)]
    server = subprocess.Popen(
        [*base, "server", library, loop, *more], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        client = [*base, "client", library, loop, *more, "--port", port]
        client += ["--size", str(args.size), "--count", str(args.count)]
        answer = subprocess.run(client, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
        result = {
            "client": json.loads(answer.stdout),
            "server": json.loads(server.stdout.readline()),
        }
        server.wait(timeout=10)
        return result
    finally:
        server.kill()
        server.wait()


def describe(name: str, who: tuple[str, str, dict[str, Any]]) -> str:
    python, library, options = who
    code = (
        f"import {library}, uvloop, platform as p; "
        f"print({library}.__version__, 'CPython', p.python_version(), 'uvloop', uvloop.__version__)"
    )
    version = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return f"{name}: {version.stdout.strip()}, options {options or 'default'}"


def progress(text: str) -> None:
    """Show where a long run is: one line that is overwritten, or lines in a log."""
    if sys.stderr.isatty():
        print(f"{text:78}", end="\r", file=sys.stderr)
    elif text:
        print(text, file=sys.stderr)


def report(loop: str, results: dict[str, list[dict[str, dict[str, float]]]], args: Any) -> None:
    print(f"\n{loop}, {args.size} bytes, medians of {args.rounds} rounds of {args.count:,}")
    columns = f"{'client user us':>16}{'sys':>6}{'server user us':>16}{'sys':>6}"
    print(f"{'':28}{'round trips/s':>14}{columns}")
    for name, turns in results.items():
        values = [statistics.median(t["client"]["rate"] for t in turns)]
        for end in ENDS:
            values += [
                statistics.median(t[end][key] for t in turns) for key in ("user_us", "system_us")
            ]
        rate, cu, cs, su, ss = values
        print(f"{name:28}{rate:>14,.0f}{cu:>16.1f}{cs:>6.1f}{su:>16.1f}{ss:>6.1f}")
    first, *others = results
    for name in others:
        pairs = list(zip(results[first], results[name]))
        ratios = [statistics.median(a["client"]["rate"] / b["client"]["rate"] for a, b in pairs)]
        for end in ENDS:
            ratios.append(
                statistics.median(a[end]["user_us"] / b[end]["user_us"] for a, b in pairs)
            )
        print(
            f"{first} / {name}: rate {ratios[0]:.2f} x, "
            f"user CPU client {ratios[1]:.2f} x, server {ratios[2]:.2f} x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peer", required=True, help="a Python that has picows and uvloop")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--loops", nargs="+", default=["uvloop", "asyncio"])
    parser.add_argument("--json", help="write the raw figures to this file")
    args = parser.parse_args()

    field = contestants(sys.executable, args.peer)
    print(f"{platform.platform()}, client and server pinned to core {args.core}")
    for name, who in field.items():
        print(describe(name, who))
    everything = {}
    for loop in args.loops:
        results: dict[str, list[Any]] = {name: [] for name in field}
        for number in range(args.rounds):
            for name, who in field.items():
                progress(f"{loop}: round {number + 1} of {args.rounds}, {name}")
                results[name].append(turn(who, loop, args))
        progress("")
        report(loop, results, args)
        everything[loop] = results
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(everything, file, indent=1)


if __name__ == "__main__":
    main()
