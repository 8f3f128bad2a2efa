"""A short form of ``make nomem``: no failing allocation crashes or hangs anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from picows_c.poller import has_poller

SCRIPT = Path(__file__).parent / "nomem" / "run.py"
SCENARIOS = ["connect", "accept", "receive", "send", "send-masked", "message", "deflate"]
SCENARIOS += ["close", "closed", "broken", "disconnect"]
SECURE = ["connect-tls", "accept-tls", "receive-tls", "send-tls", "close-tls", "disconnect-tls"]


@pytest.mark.skipif(not has_poller(), reason="there is no poller on this system")
@pytest.mark.parametrize(
    "scenario", [way + name for name in SCENARIOS + SECURE for way in ("", "loop-")] + ["alone"]
)
def test_each_allocation_fails_in_turn(scenario, need):
    need("a C compiler", shutil.which("cc"))
    need("Python.h", Path(sysconfig.get_path("include"), "Python.h").exists())
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("a free-threaded build has its own allocator, which cannot be replaced")
    command = [sys.executable, str(SCRIPT), scenario]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "allocations failed in turn" in result.stdout
