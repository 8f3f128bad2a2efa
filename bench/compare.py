"""Rate and CPU of each message, and memory of each connection, beside others, in one run.

    python bench/compare.py --peer PYTHON [--rounds 5] [--loops uvloop asyncio] [WORK ...]

PYTHON is an interpreter that has picows and uvloop; websockets and aiohttp are those of the
interpreter that runs this.

The libraries take turns (A B A B ...), so that a noisy machine disturbs all of them; what counts
are the medians of the ratios of neighbouring turns. CPU is that of the process, by os.times(), from
the first message after the warm-up on.

echo       one connection, 256 bytes, client and server on one core, both of the library
echo-100   100 connections, 64 bytes, server on core 0; the client is picows_c's on core 1
echo-1000  the same with 1,000 connections
tls        echo over TLS
stream     receiving 32-byte frames as fast as they come; the sender is picows_c's on core 1
messages   the same as whole messages and each as bytes, beside websockets
idle-compressed
           resident memory of a server's connections that have agreed on permessage-deflate and are
           idle, beside aiohttp and websockets: untouched, and after an echo that was compressed
           both ways; the clients offer what browsers offer
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
import tempfile
from dataclasses import dataclass, field
from typing import Any

WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")


@dataclass
class Contestant:
    """A library at one of its settings."""

    name: str
    python: str
    library: str
    options: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        code = (
            f"import {self.library} as l, uvloop, platform as p; "
            "print(l.__version__, 'CPython', p.python_version(), 'uvloop', uvloop.__version__)"
        )
        command = [self.python, "-c", code]
        version = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return f"{self.name}: {version.stdout.strip()}, options {self.options or 'default'}"


@dataclass
class Work:
    """What is measured: the roles, and which of them is the contestant's."""

    server: str
    client: str
    measured: tuple[str, ...]
    size: int
    count: int
    connections: int = 1
    tls: bool = False
    against: str = "picows"


WORKS = {
    "echo": Work("server", "client", ("client", "server"), 256, 100_000),
    "echo-100": Work("server", "client", ("server",), 64, 300_000, 100),
    "echo-1000": Work("server", "client", ("server",), 64, 300_000, 1000),
    "tls": Work("server", "client", ("client", "server"), 256, 50_000, tls=True),
    "stream": Work("source", "sink", ("client",), 32, 2_000_000),
    "messages": Work("source", "receiver", ("client",), 32, 1_000_000, against="messages"),
    "idle-compressed": Work("idle", "visitors", ("server",), 500, 1, 1000, against="compressed"),
}


def contestants(against: str, peer: str) -> list[Contestant]:
    """Return who takes part, ours first."""
    here = sys.executable
    if against == "messages":
        unlimited = {"compression": None, "max_queue": None, "max_size": None}
        return [
            Contestant("picows_c", here, "picows_c", {"assemble_messages": True}),
            Contestant("websockets", here, "websockets", unlimited),
        ]
    if against == "compressed":
        options = {"assemble_messages": True, "compression": True}
        return [
            Contestant("picows_c", here, "picows_c", options),
            Contestant("aiohttp", here, "aiohttp"),
            Contestant("websockets", here, "websockets", {"ping_interval": None}),
        ]
    return [
        Contestant("picows_c", here, "picows_c"),
        Contestant("picows_c, loop's way", here, "picows_c", {"transport": "loop"}),
        Contestant("picows, aiofastnet", peer, "picows", {"use_aiofastnet": True}),
        Contestant("picows, loop's transports", peer, "picows", {"use_aiofastnet": False}),
    ]


# Who makes the load.
OURS = Contestant("picows_c", sys.executable, "picows_c")


def turn(work: Work, who: Contestant, loop: str, tls: list[str]) -> dict[str, dict[str, float]]:
    """Run one server and one client; return the figures of those that are the contestant's."""
    one_core = len(work.measured) == 2

    def command(end: str, role: str) -> list[str]:
        mine = who if end in work.measured else OURS
        # The one that is measured has core 0; whoever only makes the load has the other.
        core = 0 if one_core or end in work.measured else 1
        pin = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
        # The load does not depend on the loop that is measured.
        its_loop = loop if end in work.measured else "uvloop"
        return [
            *pin, mine.python, WORKER, role, mine.library, its_loop,
            "--options", json.dumps(mine.options), "--count", str(work.count),
            "--size", str(work.size), "--connections", str(work.connections),
            *(tls if work.tls else []),
        ]  # fmt: skip

    server = subprocess.Popen(
        command("server", work.server), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        client = [*command("client", work.client), "--port", port]
        answer = subprocess.run(client, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
        found = {
            "client": json.loads(answer.stdout),
            "server": json.loads(server.stdout.readline()),
        }
    finally:
        server.kill()
        server.wait()
    return {end: found[end] for end in work.measured}


def weigh(work: Work, who: Contestant, loop: str) -> dict[str, float]:
    """Return KiB for each connection, untouched and after a message."""

    def run(python: str, role: str, library: str, *more: str) -> subprocess.Popen[str]:
        command = [python, WORKER, role, library, *more, "--connections", str(work.connections)]
        command += ["--size", str(work.size)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def answer(process: subprocess.Popen[str], line: str = "") -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        return json.loads(process.stdout.readline())

    found = {}
    for key, count in (("untouched", 0), ("after a message", work.count)):
        options = ["--options", json.dumps(who.options), "--count", "0"]
        with run(who.python, work.server, who.library, loop, *options) as server:
            more = ["--port", str(answer(server)), "--count", str(count)]
            with run(OURS.python, work.client, OURS.library, "uvloop", *more) as client:
                answer(client)
                before = answer(server, "\n")
                connections = answer(client, "\n")
                found[key] = (answer(server, "\n") - before) / connections / 1024
                server.kill()
    return found


def progress(text: str) -> None:
    """Show where a long run is: one line that is overwritten, or lines in a log."""
    if sys.stderr.isatty():
        print(f"{text:90}", end="\r", file=sys.stderr)
    elif text:
        print(text, file=sys.stderr)


def median(turns: list[Any], end: str, key: str) -> float:
    return statistics.median(t[end][key] for t in turns)


def report(title: str, work: Work, results: dict[str, list[Any]]) -> None:
    ends = work.measured
    print(f"\n{title}")
    columns = "".join(f"{end + ' user us':>16}{'sys':>7}" for end in ends)
    print(f"{'':28}{'messages/s':>12}{columns}")
    for name, turns in results.items():
        cells = f"{median(turns, ends[0], 'rate'):>12,.0f}"
        for end in ends:
            cells += (
                f"{median(turns, end, 'user_us'):>16.2f}{median(turns, end, 'system_us'):>7.2f}"
            )
        print(f"{name:28}{cells}")
    first, *others = results
    for name in others:
        pairs = list(zip(results[first], results[name]))
        rates = [a[ends[0]]["rate"] / b[ends[0]]["rate"] for a, b in pairs]
        text = f"rate {statistics.median(rates):.2f} x"
        for end in ends:
            ratios = [a[end]["user_us"] / max(b[end]["user_us"], 0.01) for a, b in pairs]
            text += f", {end} user CPU {statistics.median(ratios):.2f} x"
        print(f"{first} / {name}: {text}")


def report_memory(title: str, results: dict[str, list[dict[str, float]]]) -> None:
    first, *others = results
    keys = list(results[first][0])
    print(f"\n{title}")
    print(f"{'KiB for each connection':28}{''.join(f'{key:>20}' for key in keys)}")
    for name, turns in results.items():
        medians = (statistics.median(t[key] for t in turns) for key in keys)
        print(f"{name:28}{''.join(f'{cell:>20.1f}' for cell in medians)}")
    for name in others:
        pairs = list(zip(results[first], results[name]))
        ratios = (statistics.median(a[key] / b[key] for a, b in pairs) for key in keys)
        cells = ", ".join(f"{key} {ratio:.2f} x" for key, ratio in zip(keys, ratios))
        print(f"{first} / {name}: {cells}")


def make_certificate(folder: str) -> list[str]:
    key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", key, "-out", cert, "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return ["--cert", cert, "--key", key]


def compare(name: str, loop: str, args: argparse.Namespace, tls: list[str]) -> dict[str, list[Any]]:
    """Let all take their turns at one work on one loop, and print what came of it."""
    work = WORKS[name]
    all_of_them = contestants(work.against, args.peer)
    results: dict[str, list[Any]] = {who.name: [] for who in all_of_them}
    for number in range(args.rounds):
        for who in all_of_them:
            progress(f"{name}, {loop}: round {number + 1} of {args.rounds}, {who.name}")
            weighs = work.against == "compressed"
            result: Any = weigh(work, who, loop) if weighs else turn(work, who, loop, tls)
            results[who.name].append(result)
    progress("")
    title = f"{name}, {loop}: {work.size} bytes, {work.connections} connections, "
    title += f"medians of {args.rounds} rounds"
    if work.against == "compressed":
        report_memory(title, results)
    else:
        report(f"{title} of {work.count:,}", work, results)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}; all")
    parser.add_argument("--peer", help="a Python that has picows and uvloop")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loops", nargs="+", default=["uvloop", "asyncio"])
    parser.add_argument("--json", help="write the raw figures to this file")
    args = parser.parse_args()

    works = args.works or list(WORKS)
    if not args.peer and any(WORKS[name].against == "picows" for name in works):
        parser.error("--peer is needed")
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    everything: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        tls = make_certificate(folder)
        for against in dict.fromkeys(WORKS[name].against for name in works):
            print()
            for who in contestants(against, args.peer):
                print(who.describe())
            for name in works:
                if WORKS[name].against == against:
                    for loop in args.loops:
                        results = compare(name, loop, args, tls)
                        everything[f"{name} {loop}"] = results
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(everything, file, indent=1)


if __name__ == "__main__":
    main()
