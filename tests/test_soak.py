"""A short soak (make soak T=600 is a long one): nothing is lost, nothing grows, nobody dies."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "soak" / "run.py"


def test_mixed_traffic_is_verified(need, tmp_path):
    need("/proc", Path("/proc/self/statm").exists())
    need("trustme", importlib.util.find_spec("trustme"))
    # Memory is judged where a run is long enough to settle: with 20 samples or more.
    command = [sys.executable, str(SCRIPT), "--seconds", "15", "--workers", "12"]
    command += ["--json", str(tmp_path / "soak.json"), "--svg", str(tmp_path / "soak")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=230, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    counts = json.loads(result.stdout.splitlines()[-1])
    assert all(counts[what] > 0 for what in ("messages", "connections", "broken", "pings"))
    assert (tmp_path / "soak-light.svg").stat().st_size > 1000
