"""The ways of a frame, timed: ``make bench-paths``, or pytest --benchmark-only bench/test_paths.py.

--benchmark-autosave and --benchmark-compare compare with an earlier run. For what a noisy machine
hides there is bench/instructions.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

from paths import PATHS


@pytest.mark.parametrize("name", PATHS)
def test_path(name: str, benchmark: Any) -> None:
    way = PATHS[name]()
    benchmark.extra_info["operations"] = way.per
    benchmark(way.call)
    way.close()
