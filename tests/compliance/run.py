"""Run the Autobahn conformance suite against picows_c and judge what it found.

    python tests/compliance/run.py [--role server] [--loop uvloop] [--cases 1.* 9.*]

The exit status is 0 if every case passed; README.md says what that means.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# An installed picows_c comes first, then the one that was built in place.
sys.path.append(str(ROOT))
import picows_c  # noqa: E402

AGENT = "picows_c"
ROLES = ["server", "client"]
LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]

# Compression does not depend on the loop, and takes long.
COMPRESSION = ["12.*", "13.*"]
DEFAULT_CASES = ["*"]
DEFAULT_TIMEOUT = 900.0

PASSED = {"OK", "INFORMATIONAL"}
# The suite looks at what came before the connection was failed: an echo may be under way or not.
MAY_BE_NON_STRICT = {"3.4", "4.1.5", "4.2.5"}

VERDICTS = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "UNCLEAN", "WRONG CODE"]
VERDICTS += ["FAILED BY CLIENT", "FAILED", "MISSING"]


class ComplianceError(Exception):
    """The suite could not be run."""


class Case(NamedTuple):
    """One case's verdicts."""

    id: str
    behavior: str
    behavior_close: str

    @property
    def passed(self) -> bool:
        good = self.behavior in PASSED or (
            self.behavior == "NON-STRICT" and self.id in MAY_BE_NON_STRICT
        )
        return good and self.behavior_close in PASSED

    @property
    def group(self) -> int:
        return int(self.id.split(".")[0])


def default_wstest() -> Path:
    return Path(os.environ.get("WSTEST") or ROOT / "build" / "autobahn" / "bin" / "wstest")


# ---- processes ----


class Guard:
    """The wall clock that a whole run has to keep to."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise ComplianceError(f"not done after {self._seconds:.0f} s")
        return left


class Process:
    """A child with its output in a log and its lines to wait for."""

    def __init__(self, command: Sequence[str], cwd: Path) -> None:
        path = os.pathsep.join([str(Path(picows_c.__file__).parents[1]), str(HERE)])
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if command[0] == sys.executable:
            env["PYTHONPATH"] = path
        self.name = " ".join(Path(part).name for part in command[:3])
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._child = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def output(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def line(self, start: str, guard: Guard) -> str:
        """Wait for a line that starts so; return the rest of it."""
        with self._changed:
            while True:
                for text in self._lines:
                    if text.startswith(start):
                        return text[len(start) :].strip()
                if self._ended:
                    raise ComplianceError(f"{self.name} ended:\n{''.join(self._lines)}")
                self._changed.wait(guard.left())

    def wait(self, guard: Guard) -> None:
        """Wait for its end, which has to be a good one."""
        try:
            status = self._child.wait(guard.left())
        except subprocess.TimeoutExpired:
            guard.left()
            raise
        self._reader.join()
        if status != 0:
            raise ComplianceError(f"{self.name} ended with status {status}:\n{self.output()}")

    def finish(self, guard: Guard) -> None:
        """Ask for its end by closing its stdin."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self.wait(guard)

    def stop(self) -> None:
        """End it, whatever it does."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(5)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._reader.join()
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None
            stream.close()


@contextlib.contextmanager
def started(command: Sequence[str], cwd: Path) -> Iterator[Process]:
    process = Process(command, cwd)
    try:
        yield process
    finally:
        process.stop()


# ---- the two roles ----


def _spec(where: Path, cases: Sequence[str], excluded: Sequence[str], **more: Any) -> str:
    spec = {
        "outdir": str(where / "reports"),
        "cases": list(cases),
        "exclude-cases": list(excluded),
        "exclude-agent-cases": {},
        **more,
    }
    path = where / "spec.json"
    path.write_text(json.dumps(spec))
    return str(path)


def _planned(suite: Process, guard: Guard) -> list[str]:
    planned = list(ast.literal_eval(suite.line("Cases = ", guard)))
    if not planned:
        raise ComplianceError("no case has such a name")  # and wstest would wait for ever
    return planned


def _try_server(wstest: Path, loop: str, where: Path, guard: Guard, **cases: Any) -> list[str]:
    command = [sys.executable, str(HERE / "server.py"), "--loop", loop]
    with started(command, where) as testee:
        port = testee.line("", guard)
        if not port.isdigit():
            raise ComplianceError(f"the server did not start:\n{testee.output()}")
        servers = [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}]
        spec = _spec(where, servers=servers, **cases)
        with started([str(wstest), "-m", "fuzzingclient", "-s", spec], where) as suite:
            planned = _planned(suite, guard)
            suite.wait(guard)
        testee.finish(guard)
    return planned


def _free_port() -> int:
    # wstest cannot be asked which port it got.
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _try_client(wstest: Path, loop: str, where: Path, guard: Guard, **cases: Any) -> list[str]:
    url = f"ws://127.0.0.1:{_free_port()}"
    spec = _spec(where, url=url, **cases)
    command = [str(wstest), "-m", "fuzzingserver", "-u", "0", "-s", spec]
    with started(command, where) as suite:
        planned = _planned(suite, guard)
        command = [sys.executable, str(HERE / "client.py"), url, "--agent", AGENT, "--loop", loop]
        with started(command, where) as testee:
            testee.wait(guard)
    return planned


def run_suite(
    wstest: Path,
    role: str,
    loop: str,
    where: Path,
    *,
    cases: Sequence[str] = DEFAULT_CASES,
    excluded: Sequence[str] = (),
    timeout: float = DEFAULT_TIMEOUT,
) -> list[Case]:
    """Run the cases against one role on one loop; the reports go below ``where``.

    Raises ComplianceError where the suite did not come to its end.
    """
    attempt = _try_server if role == "server" else _try_client
    guard = Guard(timeout)
    where.mkdir(parents=True, exist_ok=True)
    planned = attempt(wstest, loop, where, guard, cases=cases, excluded=excluded)
    index = json.loads((where / "reports" / "index.json").read_text())
    found = index.get(AGENT, {})
    missing = {"behavior": "MISSING", "behaviorClose": "MISSING"}
    return [
        Case(case, verdict["behavior"], verdict["behaviorClose"])
        for case in planned
        for verdict in [found.get(case, missing)]
    ]


# ---- what came of it ----


def table(cases: Sequence[Case]) -> str:
    """Return the counts of verdicts, a line for each group."""
    columns = [v for v in VERDICTS if any(case.behavior == v for case in cases)]
    columns += sorted({case.behavior for case in cases} - set(VERDICTS))
    lines = ["group  cases  " + "  ".join(columns) + "  bad close  passed"]
    groups: list[tuple[str, list[Case]]] = [
        (str(group), [case for case in cases if case.group == group])
        for group in sorted({case.group for case in cases})
    ]
    for name, members in [*groups, ("all", list(cases))]:
        count = Counter(case.behavior for case in members)
        bad_close = sum(case.behavior_close not in PASSED for case in members)
        row = [f"{name:<5}", f"{len(members):>5}"]
        row += [f"{count[column] or '.':>{len(column)}}" for column in columns]
        row += [f"{bad_close or '.':>9}", f"{sum(case.passed for case in members):>6}"]
        lines.append("  ".join(row))
    return "\n".join(lines)


def remarks(cases: Sequence[Case]) -> str:
    """Return a line for each case that is not simply OK."""
    lines = []
    for case in cases:
        if case.behavior in PASSED and case.behavior_close in PASSED:
            continue
        verdict = "allowed" if case.passed else "FAILED"
        lines.append(f"  {case.id:<8} {case.behavior}, close {case.behavior_close}: {verdict}")
    return "\n".join(lines)


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--wstest", type=Path, help="WSTEST, else build/autobahn/bin/wstest")
    parser.add_argument("--role", choices=[*ROLES, "both"], default="both")
    parser.add_argument("--loop", choices=[*LOOPS, "both"], default="both")
    parser.add_argument(
        "--cases",
        nargs="+",
        metavar="PATTERN",
        help="such as 1.* 9.1.1; default: all, 12 and 13 on one loop",
    )
    parser.add_argument(
        "--timeout", type=float, default=DEFAULT_TIMEOUT, help="seconds for each role and loop"
    )
    parser.add_argument("--outdir", type=Path, help="keep the suite's reports here")
    arguments = parser.parse_args(argv)
    wstest = (arguments.wstest or default_wstest()).absolute()
    if not shutil.which(str(wstest)):
        parser.error(f"{wstest} is not there: tests/compliance/install.sh DEST installs it")
    roles = ROLES if arguments.role == "both" else [arguments.role]
    loops = LOOPS if arguments.loop == "both" else [arguments.loop]
    cases = arguments.cases or DEFAULT_CASES

    # What was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    bad = 0
    with contextlib.ExitStack() as stack:
        outdir = arguments.outdir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for role in roles:
            for loop in loops:
                again = not arguments.cases and loop != loops[0]
                excluded = COMPRESSION if again else []
                began = time.monotonic()
                try:
                    found = run_suite(
                        wstest,
                        role,
                        loop,
                        outdir.absolute() / f"{role}-{loop}",
                        cases=cases,
                        excluded=excluded,
                        timeout=arguments.timeout,
                    )
                except ComplianceError as error:
                    print(f"{role}, {loop}: {error}\n", flush=True)
                    bad += 1
                    continue
                bad += sum(not case.passed for case in found)
                print(f"{role}, {loop}: {time.monotonic() - began:.0f} s")
                print(table(found))
                print(remarks(found), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
