"""Mixed traffic for a long time: everything that comes back is verified, memory is watched.

    python tests/soak/run.py [--seconds 600] [--workers 24] [--loop asyncio]
                             [--json FILE] [--svg PREFIX]

Every size, plain and TLS, both ways of the bytes, frames and compressed messages, short and long
connections, pings, every kind of end, and peers on both sides that break the rules. Server and
clients are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = os.sysconf("SC_PAGE_SIZE")
# Resident memory may differ by so much between an early and a late part of the run.
SLACK = 16 << 20


# ---- the two processes ----


async def server(folder: Path) -> None:
    from traffic import serve

    print(json.dumps(await serve(folder)), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def clients(folder: Path, ports: dict[str, int], seconds: float, workers: int) -> int:
    from traffic import Counts, work

    counts = Counts()
    until = asyncio.get_running_loop().time() + seconds
    working = [
        asyncio.ensure_future(work(number, until, counts, ports, folder))
        for number in range(workers)
    ]
    while working:
        _, pending = await asyncio.wait(working, timeout=1)
        working = list(pending)
        print(json.dumps(vars(counts)), flush=True)
    return bool(counts.problems)


def child(args: argparse.Namespace) -> None:
    sys.path.insert(0, str(HERE))
    logging.disable(logging.CRITICAL)
    loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
    if args.loop == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    folder = Path(args.folder)
    if args.role == "server":
        loop.run_until_complete(server(folder))
        os._exit(0)
    main = clients(folder, json.loads(args.ports), args.seconds, args.workers)
    sys.exit(loop.run_until_complete(main))


# ---- the one that watches ----


def usage(pid: int) -> tuple[int, int]:
    """Return resident bytes and descriptors of a process."""
    with open(f"/proc/{pid}/statm") as statm:
        resident = int(statm.read().split()[1]) * PAGE
    return resident, len(os.listdir(f"/proc/{pid}/fd"))


def certificates(folder: Path) -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")


def start(role: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "faulthandler", __file__, "--role", role]
    return subprocess.Popen(
        [*command, "--folder", str(folder), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def soak(seconds: float, workers: int, loop: str) -> dict[str, Any]:
    """Run it; return samples of once a second and what was counted."""
    samples: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates(folder)
        serving = start("server", folder, "--loop", loop)
        working = None
        try:
            ports = serving.stdout.readline().strip()  # type: ignore[union-attr]
            idle = usage(serving.pid)[1]
            more = ["--ports", ports, "--seconds", str(seconds), "--workers", str(workers)]
            working = start("clients", folder, "--loop", loop, *more)
            begin, counts = time.monotonic(), {}
            for line in working.stdout:  # type: ignore[union-attr]
                counts = json.loads(line)
                now = time.monotonic() - begin
                (server_memory, server_fds), (memory, fds) = usage(serving.pid), usage(working.pid)
                samples.append({
                    "time": now,
                    "server": server_memory,
                    "clients": memory,
                    "server descriptors": server_fds,
                    "clients descriptors": fds,
                    "messages": counts["messages"],
                })  # fmt: skip
                print(
                    f"\r{now:5.0f} s of {seconds:.0f}  {counts['messages']:,} messages  "
                    f"{counts['bytes'] / 1e6:,.0f} MB  {counts['connections']:,} connections  "
                    f"{counts['broken']:,} broken peers  server {server_memory / 1e6:.0f} MB  "
                    f"clients {memory / 1e6:.0f} MB ",
                    end="\n" if len(samples) % 60 == 0 else "",
                    flush=True,
                )
            print()
            code = working.wait()
            # What broken peers left half-open ends with its timeouts.
            left = usage(serving.pid)[1]
            for _ in range(300):
                left = usage(serving.pid)[1]
                if left <= idle:
                    break
                time.sleep(0.1)
            return {
                "code": code,
                "server_died": serving.poll() is not None,
                "descriptors_left": left - idle,
                "counts": counts,
                "samples": samples,
            }
        finally:
            for process in (working, serving):
                if process is not None:
                    process.kill()
                    process.communicate()


def problems(result: dict[str, Any]) -> list[str]:
    """Return what went wrong."""
    found = list(result["counts"].get("problems", ["nothing was counted"]))
    if result["code"] != 0 and not found:
        found.append(f"the clients' process ended with {result['code']}")
    if result["server_died"]:
        found.append("the server's process ended")
    if result["descriptors_left"] > 0:
        found.append(f"{result['descriptors_left']} descriptors left on the server")
    samples = result["samples"]
    fifth = len(samples) // 5
    for who in ("server", "clients") if fifth >= 4 else ():
        early = sorted(sample[who] for sample in samples[fifth : 2 * fifth])[fifth // 2]
        late = sorted(sample[who] for sample in samples[-fifth:])[fifth // 2]
        if late - early > SLACK:
            found.append(f"{who}: {early / 1e6:.1f} MB grew to {late / 1e6:.1f} MB")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=24)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--json", help="write counts and samples there")
    parser.add_argument("--svg", help="draw PREFIX-light.svg and PREFIX-dark.svg")
    for hidden in ("--role", "--folder", "--ports"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        child(args)
    if args.svg and not args.json:
        parser.error("--svg draws what --json writes")
    result = soak(args.seconds, args.workers, args.loop)
    if args.json:
        Path(args.json).write_text(json.dumps(result), encoding="utf-8")
    if args.svg:
        command = [sys.executable, str(HERE / "chart_soak.py"), args.json, args.svg]
        subprocess.run(command, check=True)
    print(json.dumps({k: v for k, v in result["counts"].items() if k != "problems"}))
    found = problems(result)
    if found:
        sys.exit("soak: " + "\n".join(found))


if __name__ == "__main__":
    main()
