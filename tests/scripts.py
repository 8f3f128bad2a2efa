"""Runs the scripts of tests/isolated, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ISOLATED = TESTS / "isolated"
# Bounds what hangs.
PATIENCE = 120.0


@contextlib.contextmanager
def script(
    name: str, *arguments: object, python: Sequence[str] = (), executable: str = sys.executable
) -> Iterator[subprocess.Popen[str]]:
    """Start a script; it is gone afterwards."""
    paths = [str(TESTS), *filter(None, sys.path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    command = [executable, "-X", "faulthandler", *python, str(ISOLATED / name)]
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_script(
    name: str, *arguments: object, timeout: float = PATIENCE, python: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end; it must end well."""
    with script(name, *arguments, python=python) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"{name} took too long:\n{out}\n{err}")
        assert process.returncode == 0, f"{name}: {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(name, 0, out, err)
