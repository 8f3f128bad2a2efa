"""A short run of ``make leaks``: nothing grows with the number of connections."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LOOPS

sys.path.append(str(Path(__file__).parent / "leaks"))

from scenarios import SCENARIOS

SCRIPT = Path(__file__).parent / "leaks" / "run.py"


# What is a loop's own matters on each of them.
OF_LOOPS = [name for name in SCENARIOS if name.startswith("loop_")]
ON_UVLOOP = [(name, "uvloop") for name in OF_LOOPS if "uvloop" in LOOPS]


@pytest.mark.parametrize(
    ("scenario", "loop"), [*((name, "asyncio") for name in SCENARIOS), *ON_UVLOOP]
)
def test_nothing_grows(scenario, loop, need):
    if "tls" in scenario:
        need("trustme", importlib.util.find_spec("trustme"))
    if loop == "uvloop":
        need("uvloop", importlib.util.find_spec("uvloop"))
    command = [sys.executable, str(SCRIPT), scenario, "--rounds", "200", "--loop", loop]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "descriptors" in result.stdout
