"""Instructions of a whole process for each message, beside picows, counted by callgrind.

    python bench/whole.py --peer build/picows/bin/python [--loops uvloop asyncio] [WORK ...]

The process that is measured runs under valgrind with a number of messages, and with more; the
difference is without start and end. It has everything: interpreter, event loop, library, callback;
not the kernel. The other end is the reference of bench/c, over TLS picows_c. "loop alone" is what
nobody can avoid: a callback of loop.add_reader() that receives a byte and sends one. Instructions
do not depend on what else the machine does: this is the user CPU of bench/compare.py without its
noise (and without its cache misses).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callgrind import counted, under_callgrind
from ends.frame import frame_of
from run import WORKER, Bench, NotHere, Process, started

LIBRARIES: dict[str, tuple[str, dict[str, Any]]] = {
    "picows_c": ("picows_c", {}),
    "picows_c, loop's way": ("picows_c", {"transport": "loop"}),
    "picows, aiofastnet": ("picows", {"use_aiofastnet": True}),
    "picows, loop's transports": ("picows", {"use_aiofastnet": False}),
}
ALONE = "loop alone"


@dataclass(frozen=True)
class Whole:
    """What one process does ``few`` times and then ``many`` times."""

    role: str
    load: str
    is_server: bool
    size: int
    few: int
    many: int
    tls: bool = False
    connections: int = 1


WORKS = {
    "echo, server": Whole("echo", "ask", True, 256, 2_000, 12_000),
    "echo, server of 100": Whole("echo", "ask", True, 64, 20_000, 120_000, connections=100),
    "echo, client": Whole("ask", "echo", False, 256, 2_000, 12_000),
    "stream": Whole("sink", "source", False, 32, 100_000, 600_000),
    "TLS echo, server": Whole("echo", "ask", True, 256, 2_000, 12_000, tls=True),
    "TLS echo, client": Whole("ask", "echo", False, 256, 2_000, 12_000, tls=True),
}


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- the loop alone ----


async def alone(count: int) -> int:
    """Pass a byte back and forth with a child of ours, ``count`` times; return who that is."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        while theirs.recv(1):
            theirs.send(b".")
        os._exit(0)
    theirs.close()
    ours.setblocking(False)
    left = count

    def readable() -> None:
        nonlocal left
        ours.recv(1)
        left -= 1
        if left == 0:
            done.set_result(None)
        else:
            ours.send(b".")

    loop.add_reader(ours, readable)
    ours.send(b".")
    await done
    loop.remove_reader(ours)
    ours.close()
    return child


# ---- counting ----


def once(bench: Bench, work: Whole, loop: str, name: str, count: int) -> int:
    """Return the instructions of a process with so many messages."""
    out = bench.folder / "callgrind.out"
    if name == ALONE:
        alone_with = [sys.executable, __file__, "--alone", loop, str(count)]
        command = [*bench.pin(0), *under_callgrind(out, alone_with)]
        process = Process(name, command)
        with started([process]):
            process.answer()
            process.finish()
        return counted(out)
    library, options = LIBRARIES[name]
    rest = ["--size", str(work.size), "--count", str(count)]
    worker = [bench.python(library), str(WORKER), work.role, library, loop]
    worker += ["--options", json.dumps(options), *rest]
    load = [str(bench.reference()), work.load]
    if work.tls:
        load = [bench.python("picows_c"), str(WORKER), work.load, "picows_c", loop]
        load += bench.certificate()
        worker += bench.certificate()
    command = [*bench.pin(0), *under_callgrind(out, worker)]
    load = [*bench.pin(1), *load]
    if work.load == "source":
        frames = bench.folder / "frames"
        frames.write_bytes(frame_of(bytes(work.size)) * 2000)
        load += ["--file", str(frames)]
    load += rest
    if work.connections > 1:
        load += ["--connections", str(work.connections)]
    first, second = (command, load) if work.is_server else (load, command)
    server = Process(f"the server of {name}", first)
    with started([server]):
        client = Process(f"the client of {name}", [*second, "--port", str(server.answer())])
        with started([client]):
            process = server if work.is_server else client
            process.answer()
            process.finish()
    return counted(out)


def for_each(bench: Bench, work: Whole, loop: str, name: str) -> float:
    progress(f"{loop}: {name}")
    few, many = (once(bench, work, loop, name, count) for count in (work.few, work.many))
    # (A meter warms up with a tenth of the messages.)
    factor = 1.0 if name == ALONE else 1.1
    return (many - few) / (work.many - work.few) / factor


def main() -> None:
    if sys.argv[1:2] == ["--alone"]:
        run = importlib.import_module(sys.argv[2]).run
        os.waitpid(run(alone(int(sys.argv[3]))), 0)
        print("0", flush=True)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}; all")
    parser.add_argument("--loops", nargs="+", default=["uvloop", "asyncio"])
    parser.add_argument("--peer", help="a Python with picows")
    args = parser.parse_args()
    unknown = set(args.works) - set(WORKS)
    if unknown:
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    if not shutil.which("valgrind"):
        parser.error("valgrind is needed")
    os.environ["PYTHONHASHSEED"] = "0"  # hashes decide how dicts are walked
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), peer=args.peer)
        for title in args.works or WORKS:
            work = WORKS[title]
            print(f"{title}, {work.size} B: instructions for each message")
            for loop in args.loops:
                is_bounded = work.role != "sink" and not work.tls and work.connections == 1
                names = [*LIBRARIES, *([ALONE] if is_bounded else [])]
                for name in names:
                    try:
                        number = for_each(bench, work, loop, name)
                    except NotHere as error:
                        progress(f"{name}: {error}")
                        continue
                    print(f"  {loop:8} {name:26} {number:>10,.0f}", flush=True)


if __name__ == "__main__":
    main()
