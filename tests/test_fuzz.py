"""A short form of ``make fuzz``: the seeds that once found something, and a few more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests/fuzz/calls.py"
PLANTED = sorted((ROOT / "tests/fuzz/planted").glob("*.patch"))


@pytest.mark.parametrize("arguments", [["--replay"], ["--first", "1", "--seconds", "5"]])
def test_random_calls(arguments):
    command = [sys.executable, str(SCRIPT), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "PASS calls" in result.stdout


@pytest.mark.parametrize("path", PLANTED, ids=lambda p: p.stem)
def test_planted_faults_fit_the_sources(path, need):
    """What a patch changes stands there as the patch has it, if at another line."""
    command = [need.program("patch"), "--dry-run", "--force", "--fuzz=0", "-p1"]
    command += ["-d", str(ROOT), "-i", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
