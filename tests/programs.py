"""Programs in processes of their own, as users run them."""

from __future__ import annotations

import ast
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import picows_c

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
# The build that is tested is the one that the programs import.
PACKAGES = str(Path(picows_c.__file__).resolve().parent.parent)
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": PACKAGES,
    "PYTHONUNBUFFERED": "1",
    # On Windows a pipe has another encoding.
    "PYTHONIOENCODING": "utf-8",
}
# A sanitizer is for Python; other programs have allocators of their own.
FOREIGN = {name: value for name, value in ENVIRONMENT.items() if name != "LD_PRELOAD"}

# Whatever a program fails to say or do: nobody waits longer.
PATIENCE = 120.0


def lasting_port() -> int:
    """Return a port below those that systems give away: it can be listened on again and again."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


class Program:
    """A process that a test started, and what it prints, errors included."""

    def __init__(self, *command: object, **options: Any) -> None:
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            env=ENVIRONMENT if command[0] == sys.executable else FOREIGN,
            # A session of its own: some programs are many processes.
            start_new_session=True,
            **options,
        )
        self._watchdog = threading.Timer(PATIENCE, self._kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self.end()

    def _kill(self) -> None:
        if self.process.poll() is None:
            if sys.platform == "win32":
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)

    def line(self) -> str:
        """Read the next line; empty at the end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def expect(self, line: str) -> None:
        """Read the next line, and it is this one."""
        assert self.line() == line

    def skip_to(self, text: str) -> str:
        """Read up to a line that has ``text`` in it, and return that."""
        seen = []
        while line := self.line():
            if text in line:
                return line
            seen.append(line)
        raise AssertionError(f"no line with {text!r}: {seen}")

    def wait_for_port(self, port: int) -> None:
        """Wait until somebody listens there."""
        while self.process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
                return
        raise AssertionError(self.end())

    def address(self) -> Any:
        """Read where a server listens: a path, or host and port."""
        line = self.line()
        start = "listening on "
        assert line.startswith(start), line + self.end()[1]
        value = line[len(start) :]
        return ast.literal_eval(value) if value.startswith("(") else value

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, wait for the end; return the exit status and what was left to read."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit status and what was left to read."""
        assert self.process.stdout is not None
        rest = "" if self.process.stdout.closed else self.process.stdout.read()
        self.process.stdout.close()
        status = self.process.wait()
        self._watchdog.cancel()
        return status, rest


def example(name: str, *arguments: object) -> Program:
    """Run one of the examples."""
    return Program(sys.executable, EXAMPLES / name, *arguments)
