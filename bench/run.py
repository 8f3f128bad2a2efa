"""Processes, cores and turns: from a work to figures."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from ends.frame import frame_of
from masks import measure_masks
from works import Case, Contestant, Program, Work

HERE = Path(__file__).resolve().parent
WORKER = HERE / "worker.py"
# No turn takes longer; a library that hangs must not stop the others.
TURN_LIMIT = 300.0
# The roles of bench/c: whoever only makes the load is one of these where it can be.
C_ROLES = {"echo", "source", "ask", "knock", "stay", "hear"}

Turn = dict[str, Any]


class NotHere(Exception):
    """Something is missing on this machine; the text says what."""


class TurnFailed(Exception):
    """A process ended without figures, or took too long."""


@dataclass
class Bench:
    """What all turns of a run have in common."""

    folder: Path
    peer: Optional[str] = None
    # Which part of the messages is sent.
    scale: float = 1.0
    cores: tuple[int, ...] = ()
    _files: dict[str, Path] = field(default_factory=dict)
    _versions: dict[str, str] = field(default_factory=dict)

    def python(self, library: str) -> str:
        if not library.startswith("picows") or library == "picows_c":
            return sys.executable
        if self.peer is None:
            raise NotHere("no Python with picows (--peer)")
        return self.peer

    def pin(self, core: int) -> list[str]:
        if not self.cores:
            return []
        return ["taskset", "-c", str(self.cores[core % len(self.cores)])]

    # ---- what turns need, made once ----

    def reference(self) -> Path:
        """Compile bench/c."""
        if "reference" not in self._files:
            sources = sorted(map(str, (HERE / "c").glob("*.c")))
            self._files["reference"] = compile_c(self.folder / "reference", sources)
        return self._files["reference"]

    def certificate(self) -> list[str]:
        key, cert = self.folder / "key.pem", self.folder / "cert.pem"
        if "certificate" not in self._files:
            if not shutil.which("openssl"):
                raise NotHere("no openssl")
            command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
            command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=127.0.0.1"]
            command += ["-addext", "subjectAltName=IP:127.0.0.1"]
            subprocess.run(command, check=True, capture_output=True)
            self._files["certificate"] = cert
        return ["--cert", str(cert), "--key", str(key)]

    def stream(self, work: Work, case: Case) -> list[str]:
        """Write ready-made frames for a source to send again and again."""
        name = f"{work.content}-{case.size}"
        extension = "permessage-deflate; server_max_window_bits=12"
        if name not in self._files:
            if work.content == "deflated":
                frames = deflated_frames(case.size)
            else:
                frame = frame_of(bytes(case.size))
                frames = frame * max(1, 65536 // len(frame))
            self._files[name] = self.folder / name
            self._files[name].write_bytes(frames)
        extension = extension if work.content == "deflated" else ""
        return ["--file", str(self._files[name]), "--extension", extension]


def deflated_frames(size: int) -> bytes:
    """Return messages as a trading feed has them, compressed one after the other.

    The context is taken over from message to message (RFC 7692, 7.2.3.2). The first one refers to
    nothing before it, so that all can be sent again and again on one connection.
    """
    compressor = zlib.compressobj(wbits=-12)
    frames = []
    for number in range(1000):
        trade = (
            f'{{"symbol":"BTC-USD","price":"{64000 + number * 37 % 911}.{number % 97:02}",'
            f'"quantity":"0.{number * 7919 % 9973:04}","time":{1700000000000 + 17 * number}}},'
        )
        message = (trade * (size // len(trade) + 1)).encode()[:size]
        payload = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
        # 7.2.1: without the four bytes that end each of them; RSV1 says that it is compressed.
        frames.append(frame_of(payload[:-4], 0xC2))
    return b"".join(frames)


def compile_c(target: Path, sources: list[str], *flags: str) -> Path:
    compiler = os.environ.get("CC") or "cc"
    if not shutil.which(compiler):
        raise NotHere("no C compiler")
    command = [compiler, "-std=c11", "-O2", *flags, "-o", str(target), *sources]
    # (A sanitizer that is preloaded is not for the compiler.)
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise NotHere(f"{' '.join(command)}: {done.stderr}")
    return target


def usable_cores() -> tuple[int, ...]:
    """Return two cores to pin to; none where that cannot be done."""
    if not shutil.which("taskset") or not hasattr(os, "sched_getaffinity"):
        return ()
    cores = sorted(os.sched_getaffinity(0))
    return tuple(cores[:2])


def raise_descriptor_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# ---- processes ----


class Process:
    """One process, which speaks by lines."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def answer(self) -> Any:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise TurnFailed(f"{self.name} said nothing and ended")
        return json.loads(line)

    def ask(self) -> Any:
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        return self.answer()

    def kill(self) -> None:
        self._popen.kill()

    def finish(self) -> None:
        """Let the process end by itself: with its standard input."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait()

    def end(self) -> None:
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextlib.contextmanager
def started(processes: list[Process]) -> Iterator[None]:
    """End the processes afterwards, or when they take too long."""

    def kill() -> None:
        for process in processes:
            process.kill()

    watchdog = threading.Timer(TURN_LIMIT, kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        for process in processes:
            process.end()


def command(
    bench: Bench, work: Work, case: Case, who: Contestant, loop: str, end: str
) -> list[str]:
    role = work.server if end == "server" else work.client
    program = who.server if end == "server" else who.client
    is_load = program is None
    if program is None:
        program = Program("C" if role in C_ROLES else "picows_c")
    # Who is measured has the first core; who only makes the load has the other one.
    both = len(work.measured) == 2
    core = 0 if work.one_core or (end == "server" if both else end in work.measured) else 1
    waves = role in ("gate", "knock")
    count = case.count if case.count == 0 else max(int(case.count * bench.scale * who.pace), 1)
    if not waves and work.kind == "turn":
        # Whole rounds of all, with the tenth that comes before.
        step = 10 if role in ("broadcaster", "hear") else 10 * case.batch
        count = max(count // step, 1) * step
    common = ["--count", str(count), "--size", str(case.size)]
    common += ["--connections", str(case.connections)]
    if program.library == "C":
        line = [*bench.pin(core), str(bench.reference()), role, *common]
        line += ["--batch", str(case.batch)]
        if work.latency:
            line += ["--latency", "1"]
        return line + (bench.stream(work, case) if role == "source" else [])
    # The load does not depend on the loop that is measured.
    line = [*bench.pin(core)]
    if program.folder:
        line += ["env", f"PYTHONPATH={program.folder}"]
    line += [bench.python(program.library), str(WORKER), role, program.library]
    line += [("uvloop" if is_load else who.loop or loop), *common]
    line += ["--options", json.dumps(dict(program.options))]
    if work.bystander and end == "client":
        line += ["--bystander"]
    return line + (bench.certificate() if work.tls else [])


@contextlib.contextmanager
def talking(
    bench: Bench, work: Work, case: Case, who: Contestant, loop: str
) -> Iterator[tuple[Process, Process]]:
    """Start a server, and a client of it; both end with the block."""
    ends = {end: command(bench, work, case, who, loop, end) for end in ("server", "client")}
    processes: list[Process] = []
    with started(processes):
        server = Process(f"the server of {who.name}", ends["server"])
        processes.append(server)
        port = str(server.answer())
        client = Process(f"the client of {who.name}", [*ends["client"], "--port", port])
        processes.append(client)
        yield server, client


def turn(bench: Bench, work: Work, case: Case, who: Contestant, loop: str) -> Turn:
    """Run one server and one client; return the figures of both."""
    with talking(bench, work, case, who, loop) as (server, client):
        return {"client": client.answer(), "server": server.answer()}


def weigh(bench: Bench, work: Work, case: Case, who: Contestant, loop: str) -> Turn:
    """Return the resident bytes of a server for each connection."""
    with talking(bench, work, case, who, loop) as (server, client):
        client.answer()
        before = server.ask()
        connections = client.ask()
        return {"server": {"resident_bytes": (server.ask() - before) / connections}}


# ---- a work ----


def figure(work: Work, result: Turn, name: str) -> Optional[float]:
    """Return one figure of a turn; CPU is that of all ends that are measured."""
    if name == "cpu_us":
        parts = [figure(work, result, part) for part in ("user_us", "system_us")]
        return None if None in parts else sum(part for part in parts if part is not None)
    if name in ("user_us", "system_us"):
        cells = [result.get(end, {}).get(name) for end in work.measured]
        return None if None in cells or not cells else float(sum(cells))
    for end in (*work.measured, "client", "server"):
        if name in result.get(end, {}):
            return float(result[end][name])
    return None


def play(
    bench: Bench,
    work: Work,
    case: Case,
    loop: str,
    rounds: int,
    wanted: Callable[[str], bool],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Let all take turns (A B C A B C ...) and return what each of them did."""
    turns: dict[str, list[Turn]] = {}
    missing: dict[str, str] = {}
    if work.kind == "mask":
        progress(f"{work.name}: bench/masks")
        return {"turns": measure_masks(bench), "missing": missing}
    here = [who for who in work.contestants if wanted(who.name)]
    if case.connections + 100 > raise_descriptor_limit():
        missing = {who.name: "RLIMIT_NOFILE is too low here" for who in here}
        here = []
    for number in range(rounds):
        for who in here:
            if who.name in missing or who.loop == loop:
                continue
            progress(f"{work.name} {case.name}, {loop}: round {number + 1}/{rounds}, {who.name}")
            measure = weigh if work.kind == "memory" else turn
            try:
                for program in (who.server, who.client):
                    if program is not None:
                        describe(bench, program.library)
                turns.setdefault(who.name, []).append(measure(bench, work, case, who, loop))
            except (NotHere, TurnFailed) as error:
                # The others go on: a long run is not lost.
                missing[who.name] = str(error)
    return {"turns": {name: t for name, t in turns.items() if t}, "missing": missing}


# ---- the machine, the settings ----


def machine(bench: Bench) -> dict[str, Any]:
    """Describe what the figures depend on; nothing that names the machine."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        cpu = names[0] if names else cpu
    pinned = f"taskset -c {' and -c '.join(map(str, bench.cores))}" if bench.cores else "not pinned"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
        "python": platform.python_version(),
        "compiler": compiler_version(),
        "pinned": pinned,
    }


def compiler_version() -> str:
    compiler = os.environ.get("CC") or "cc"
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0]
    return "none"


DESCRIBE = """
import importlib, importlib.metadata, platform, sys
def version(name):
    module = importlib.import_module(name)
    found = getattr(module, "__version__", None)
    return f"{name} {found or importlib.metadata.version(name)}"
library = sys.argv[1]
importlib.import_module(library)
top = library.split(".")[0]
# (asyncio has CPython's version.)
parts = [] if top == "asyncio" else [version(top)]
parts.append("CPython " + platform.python_version())
for name in ("uvloop", "aiofastnet") if top == "picows" else ("uvloop",):
    try:
        parts.append(version(name))
    except ImportError:
        pass
if top == "websockets":
    try:
        import websockets.speedups
        parts.append("with its C speedups")
    except ImportError:
        parts.append("without its C speedups")
if top == "aiohttp":
    from aiohttp import http_parser
    fast = hasattr(http_parser, "HttpRequestParserC")
    parts.append("with its C parser" if fast else "without its C parser")
if top == "picows_c":
    from picows_c import _core
    parts.append("masks by " + _core.mask_kernel())
print(", ".join(parts))
"""


def settings(bench: Bench, work: Work) -> dict[str, str]:
    """Describe the contestants of a work, as they are measured."""
    found = {}
    for who in work.contestants:
        texts = []
        for program in dict.fromkeys(
            (p.library, json.dumps(dict(p.options))) for p in (who.server, who.client) if p
        ):
            library, options = program
            options = options if options != "{}" else "default options"
            try:
                texts.append(f"{describe(bench, library)}: {options}")
            except NotHere as error:
                texts.append(str(error))
        found[who.name] = "; ".join(texts)
    return found


def describe(bench: Bench, library: str) -> str:
    """Return its version and what it stands on; raises NotHere where it is not installed."""
    if library == "C":
        return "bench/c, cc -O2"
    if library not in bench._versions:
        # (Not where this folder's modules would shadow a library.)
        line = [bench.python(library), "-c", DESCRIBE, library]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=bench.folder)
        bench._versions[library] = done.stdout.strip()
    if not bench._versions[library]:
        raise NotHere(f"{library} is not installed")
    return bench._versions[library]
