"""Where the CPU of picows_c's processes goes: the five largest costs of a work.

    PYTHONPATH=build/release/lib python bench/costs.py [WORK ...] [--loops uvloop asyncio]

The ends that are measured run as in bench/compare.py, under perf's sampling by the CPU's clock
(Linux; perf has to be installed and allowed). A call to the system counts with all that it does,
what the network does inside of it included; an interrupt counts by itself where it strikes in
user space. "Of its user time" is the same without the system.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from run import Bench, Process, raise_descriptor_limit, talking, usable_cores
from works import OURS, WORKS, Case, Work

HERTZ = 4000
# What a turn needs at least before its CPU is looked at: connections, the warm-up.
DELAY_MS = 1500
# More messages than can be sent while it is looked at.
SCALE = 50.0

SYSTEM_CALL = re.compile(r"^__+(?:x64_|arm64_)?sys_(\w+)$")
# Where a sample in user space lies, by the name of the file and of its folder; the first that fits.
OBJECTS = (
    ("picows_c/_core", "picows_c"),
    ("uvloop/", "uvloop"),
    ("libssl", "OpenSSL"),
    ("libcrypto", "OpenSSL"),
    ("_ssl", "CPython's ssl"),
    ("python", "CPython"),
    ("libc", "libc"),
    ("vdso", "clock"),
)
CALLS = {
    "sendto": "send",
    "sendmsg": "send",
    "recvfrom": "recv",
    "epoll_wait": "epoll_wait, sleeping and waking",
    "epoll_pwait": "epoll_wait, sleeping and waking",
}
# Outside of calls: the other end, or another process, had the core in between.
SWITCHING = "switching to another process"
BETWEEN = "entering and leaving the system, interrupts"

Frame = tuple[str, str]
# What a sample belongs to, and whether that is user time.
Cost = tuple[str, bool]


def samples(text: str) -> Iterator[list[Frame]]:
    """Return the frames (symbol, object) of each sample of perf script, the innermost first."""
    for block in text.split("\n\n"):
        frames = []
        for line in block.splitlines():
            found = re.match(r"\s+[0-9a-f]+ (.*) \((.*)\)$", line)
            if found:
                frames.append((found[1], found[2]))
        if frames:
            yield frames


def cost(frames: list[Frame]) -> Cost:
    for symbol, _ in frames:
        call = SYSTEM_CALL.match(symbol)
        if call:
            return CALLS.get(call[1], call[1]), False
    name = frames[0][1]
    if "kernel" in name or name == "[unknown]":
        switches = any("schedule" in symbol for symbol, _ in frames)
        return SWITCHING if switches else BETWEEN, False
    short = "/".join(name.split("/")[-2:])
    for part, title in OBJECTS:
        if part in short:
            return title, True
    return short, True


def profile(bench: Bench, work: Work, case: Case, loop: str, seconds: float) -> Counter[Cost]:
    """Return how many samples of the ends that are measured belong to each."""
    who = next(who for who in work.contestants if who.name == OURS)
    data = bench.folder / "perf.data"
    with talking(bench, work, case, who, loop) as (server, client):
        ends: dict[str, Process] = {"server": server, "client": client}
        pids = ",".join(str(ends[end].pid) for end in work.measured)
        command = ["perf", "record", "-q", "-g", "-F", str(HERTZ), "-e", "cpu-clock"]
        command += ["-D", str(DELAY_MS), "-o", str(data), "-p", pids]
        command += ["sleep", str(seconds + DELAY_MS / 1000)]
        subprocess.run(command, check=True, capture_output=True)
    command = ["perf", "script", "-i", str(data), "-F", "ip,sym,dso"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Counter(map(cost, samples(done.stdout)))


def row(counts: Counter[Cost], most: int) -> str:
    part = 100 / max(sum(counts.values()), 1)
    cells = [f"{title} {part * n:.0f} %" for (title, _), n in counts.most_common(most)]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help="those of bench/compare.py")
    parser.add_argument("--loops", nargs="+", default=["uvloop", "asyncio"])
    parser.add_argument("--cases", nargs="+", help="only these cases of a work")
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    names = args.works or [n for n, work in WORKS.items() if work.kind == "turn"]
    for name in names:
        if name not in WORKS or WORKS[name].kind != "turn":
            parser.error(f"no such work with processes: {name}")
    if not shutil.which("perf"):
        parser.error("perf is needed")
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), None, SCALE, usable_cores())
        for name in names:
            work = WORKS[name]
            for loop in (loop for loop in args.loops if loop in work.loops):
                for case in work.cases:
                    if args.cases and case.name not in args.cases:
                        continue
                    print(f"{name} {case.name}, {loop}", file=sys.stderr, flush=True)
                    counts = profile(bench, work, case, loop, args.seconds)
                    user = Counter({key: n for key, n in counts.items() if key[1]})
                    share = 100 * sum(user.values()) / max(sum(counts.values()), 1)
                    print(f"{name} {case.name}, {loop} | {row(counts, 5)}")
                    print(f"    of its user time, {share:.0f} %: {row(user, 5)}", flush=True)


if __name__ == "__main__":
    main()
