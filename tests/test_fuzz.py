"""A short form of ``make fuzz``: the seeds that once found something, and a few more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "fuzz" / "calls.py"


@pytest.mark.parametrize("arguments", [["--replay"], ["--first", "1", "--seconds", "5"]])
def test_random_calls(arguments):
    command = [sys.executable, str(SCRIPT), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "PASS calls" in result.stdout
