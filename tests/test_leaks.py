"""A short run of ``make leaks``: nothing grows with the number of connections."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "leaks"))

from scenarios import SCENARIOS

SCRIPT = Path(__file__).parent / "leaks" / "run.py"


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_nothing_grows(scenario, need):
    if "tls" in scenario:
        need("trustme", importlib.util.find_spec("trustme"))
    command = [sys.executable, str(SCRIPT), scenario, "--rounds", "200"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "descriptors" in result.stdout
