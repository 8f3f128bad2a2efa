"""All references of a debug interpreter: they do not grow over 1,000 more connections.

    python tests/leaks/refcounts.py [--rounds 1000] [SCENARIO ...]

The scenarios are those of run.py. PYTHON_DEBUG names the interpreter; otherwise it is looked for
(Debian has it in python3-dbg). The extension is built for it into build/debug, with assertions.
Without one a line begins with SKIP; with REQUIRE_ALL=1 that fails.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "build" / "debug" / "lib"
SCENARIOS = ["connections", "aborted", "refused", "garbage", "cancelled", "frames"]
# A handful of references come and go with the loop's timers and caches; a leak is one a round.
NOISE = 100


def interpreter() -> str:
    """Return a Python that counts all references, or leave."""
    names = [os.environ.get("PYTHON_DEBUG", ""), "python3-dbg"]
    names += [f"python3.{minor}-dbg" for minor in range(20, 8, -1)]
    for name in filter(None, names):
        probe = [name, "-c", "import sys, sysconfig; sys.gettotalrefcount()"]
        if (
            shutil.which(name)
            and not subprocess.run(probe, capture_output=True, check=False).returncode
        ):
            return name
    print("SKIP refcounts: no debug build of CPython found (Debian: python3-dbg)")
    sys.exit(os.environ.get("REQUIRE_ALL") == "1")


def build(python: str) -> dict[str, str]:
    """Build for it; return the environment to run in."""
    LIB.mkdir(parents=True, exist_ok=True)
    # The pure-Python multidict serves any interpreter.
    env = dict(os.environ, PICOWS_C_DEBUG="1", MULTIDICT_NO_EXTENSIONS="1", PYTHONPATH=str(LIB))
    if not (LIB / "setuptools").exists():
        packages = ["multidict", "setuptools", "typing-extensions"]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(LIB), *packages]
        subprocess.run([*pip, "--disable-pip-version-check"], check=True)
    command = [python, "setup.py", "-q", "build_ext", "--force", "--build-lib", str(LIB)]
    command += ["--build-temp", str(LIB.parent / "temp")]
    subprocess.run(command, check=True, env=env, cwd=ROOT)
    for source in (ROOT / "picows_c").glob("*.py"):
        (LIB / "picows_c" / source.name).write_bytes(source.read_bytes())
    return env


async def measure(name: str, rounds: int) -> int:
    import run as leaks

    from picows_c import ws_create_server

    server = await ws_create_server(
        lambda r: leaks.Echo() if r.path == b"/" else None, "127.0.0.1", 0, logger_name="leaks"
    )
    port = server.sockets[0].getsockname()[1]
    idle = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    total: Any = sys.gettotalrefcount  # type: ignore[attr-defined]
    counts = []
    for count in (max(rounds // 5, 20), rounds):
        await leaks.SCENARIOS[name](count, port)
        await leaks.settled(idle)
        gc.collect()
        counts.append(total())
    server.close()
    grown = counts[1] - counts[0]
    bad = grown > NOISE
    print(
        f"{name:12} {rounds} rounds: {counts[0]} references, {grown:+}{'  LEAK' * bad}", flush=True
    )
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        import logging

        logging.disable(logging.CRITICAL)
        sys.exit(sum(asyncio.run(measure(name, args.rounds)) for name in args.scenarios))
    python = interpreter()
    env = build(python)
    failed = []
    for name in args.scenarios or SCENARIOS:
        command = [python, "-X", "showrefcount", __file__, "--inside", name]
        if subprocess.run(
            [*command, "--rounds", str(args.rounds)], env=env, check=False
        ).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"references grow: {', '.join(failed)}")


if __name__ == "__main__":
    main()
