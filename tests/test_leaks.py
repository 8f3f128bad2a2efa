"""A short run of ``make leaks``: nothing grows with the number of connections."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "leaks" / "run.py"


@pytest.mark.parametrize(
    "scenario", ["connections", "aborted", "refused", "garbage", "cancelled", "frames"]
)
def test_nothing_grows(scenario):
    command = [sys.executable, str(SCRIPT), scenario, "--rounds", "300"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "descriptors" in result.stdout
