"""Reference counts, objects, descriptors and memory stay flat; a process for each scenario.

    python tests/leaks/run.py [--rounds 10000] [--loop asyncio] [--json FILE] [SCENARIO ...]

The collector is off: whatever is ours must go without it when a connection has ended. (asyncio's
own transports refer to themselves; what they leave is collected before all objects are counted.)
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from typing import Any

from scenarios import SCENARIOS, Echo, Scenario, port_of

import picows_c
from picows_c import ws_create_server

PARTS = 10
PROC = os.path.isdir("/proc/self/fd")


def resident() -> int:
    """Return the process's resident KiB, 0 where the system does not say.

    AddressSanitizer keeps what is freed: there it says nothing.
    """
    if not PROC or "libasan" in os.environ.get("LD_PRELOAD", ""):
        return 0
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def ours() -> int:
    # (Cython gives some of its types a __module__ that is no str.)
    return sum(1 for o in gc.get_objects() if str(type(o).__module__).startswith("picows_c"))


def figures() -> dict[str, int]:
    """Count what could pile up."""
    gc.collect()
    core = picows_c._core
    return {
        "our objects": ours(),
        "objects": len(gc.get_objects()),
        "references to WSFrame": sys.getrefcount(picows_c.WSFrame),
        "references to WSTransport": sys.getrefcount(picows_c.WSTransport),
        "references to the core's WSTransport": sys.getrefcount(core.WSTransport),
        "references to the core's Stream": sys.getrefcount(core.Stream),
        "references to the core's WSReader": sys.getrefcount(core.WSReader),
        "references to the core's Deflate": sys.getrefcount(core.Deflate),
        "descriptors": len(os.listdir("/proc/self/fd")) if PROC else 0,
        "KiB": tracemalloc.get_traced_memory()[0] // 1024,
        "KiB, resident": resident(),
    }


def allowed(what: str, rounds: int) -> int:
    """Return by how much a figure may grow: less than one a round.

    A few of each are the loop's own, a block of 64 KiB may be on its way; a leak is one a round,
    128 bytes of memory. Resident memory counts what the allocators have not used yet, too.
    """
    if what == "KiB, resident":
        return 2048 + rounds * 200 // 1024
    return max(160, rounds // 8)


async def settled(descriptors: int) -> None:
    """Let the last connections end on both sides; bounded."""
    for _ in range(200):
        await asyncio.sleep(0.01)
        if not PROC or len(os.listdir("/proc/self/fd")) <= descriptors:
            return


async def measure(scenario: Scenario, rounds: int) -> dict[str, Any]:
    server = await ws_create_server(
        lambda r: Echo() if r.path == b"/" else None, "127.0.0.1", 0, logger_name="leaks"
    )
    port = port_of(server)
    idle = len(os.listdir("/proc/self/fd")) if PROC else 0
    # Warm up: caches fill, pools grow. Then the same again must change nothing.
    await scenario(max(rounds // PARTS, 20), port)
    await settled(idle)
    before, memory, cycles = figures(), [], 0
    for part in range(PARTS):
        await scenario(rounds // PARTS, port)
        await settled(before["descriptors"])
        there = ours()
        gc.collect()
        cycles += there - ours()
        memory.append(resident())
        print(f"\r  {(part + 1) * rounds // PARTS:,} of {rounds:,}", end="", file=sys.stderr)
    after = figures()
    server.close()
    print(f"\r{'':30}\r", end="", file=sys.stderr, flush=True)
    before["our objects that only the collector could free"] = 0
    after["our objects that only the collector could free"] = cycles
    grown = {what: after[what] - was for what, was in before.items()}
    for what, was in before.items():
        verdict = "  LEAK" if grown[what] > allowed(what, rounds) else ""
        print(f"  {what:48}{was:>9} {grown[what]:>+7}{verdict}")
    leaks = [what for what in grown if grown[what] > allowed(what, rounds)]
    return {"rounds": rounds, "before": before, "grown": grown, "resident": memory, "leaks": leaks}


def run(loop_kind: str, main: Any) -> Any:
    if loop_kind == "uvloop":
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)


def inside(name: str, rounds: int, loop_kind: str) -> None:
    """Be the process of one scenario; the last line is JSON."""
    import logging

    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.disable()
    tracemalloc.start(1)
    result = run(loop_kind, measure(SCENARIOS[name], rounds))
    print(json.dumps({"scenario": name, **result}))
    sys.exit(min(len(result["leaks"]), 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--json", help="write all figures there")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside(args.inside, args.rounds, args.loop)
    failed, results = [], []
    names = args.scenarios or list(SCENARIOS)
    for number, name in enumerate(names, 1):
        print(f"{number}/{len(names)} {name}: {SCENARIOS[name].__doc__}", flush=True)
        command = [sys.executable, __file__, "--inside", name, "--rounds", str(args.rounds)]
        command += ["--loop", args.loop]
        done = subprocess.run(command, check=False, timeout=1800, stdout=subprocess.PIPE, text=True)
        *table, last = done.stdout.splitlines() or [""]
        print("\n".join(table), flush=True)
        if last.startswith("{"):
            results.append(json.loads(last))
        if done.returncode != 0:
            failed.append(name)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)
    if failed:
        sys.exit(f"leaks: {', '.join(failed)}")


if __name__ == "__main__":
    main()
