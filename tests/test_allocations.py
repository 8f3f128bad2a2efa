"""10,000 frames, in or out, allocate nothing: not in malloc, nor in Python's three allocators.

A process of its own counts them: tests/isolated/allocations.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import picows_c

HERE = Path(__file__).parent
SIZES = [0, 125, 126, 65_536]
ROLES = ["server", "client"]
COUNTERS = ["malloc", "realloc", "raw", "mem", "object"]

pytestmark = [
    pytest.mark.skipif(picows_c._core.POLLER != "epoll", reason="no poller here"),
    pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="another allocator is preloaded"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: Any) -> Any:
    """What was counted, by name."""
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None or os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("needs a C compiler and the GNU C library")
    folder = tmp_path_factory.mktemp("counting")
    include = f"-I{sysconfig.get_paths()['include']}"
    sources = {"counting_malloc.so": ["-fno-builtin"], "counting.so": [include]}
    for name, flags in sources.items():
        source = HERE / "isolated" / f"{Path(name).stem}.c"
        command = [compiler, "-shared", "-fPIC", "-O2", *flags, "-o", folder / name, source]
        subprocess.run(command, check=True)
    result = subprocess.run(
        [sys.executable, HERE / "isolated" / "allocations.py", folder],
        env={**os.environ, "LD_PRELOAD": str(folder / "counting_malloc.so")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


NONE = dict.fromkeys(COUNTERS, 0)


def test_counters_count(found):
    assert found["nothing"] == NONE
    # bytes(1000) and bytearray(100_000): two objects, and room for 1,000 and 100,000 bytes.
    assert found["something"]["object"] >= 2
    assert found["something"]["malloc"] >= 2


@pytest.mark.parametrize("corked", ["", ", corked"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("role", ROLES)
def test_sending_allocates_nothing(found, role, size, corked):
    assert found[f"{role} sends {size}{corked}"] == NONE


@pytest.mark.parametrize("size", SIZES[:-1])
@pytest.mark.parametrize("role", ROLES)
def test_receiving_allocates_nothing(found, role, size):
    assert found[f"{role} receives {size}"] == NONE


@pytest.mark.parametrize("role", ROLES)
def test_receiving_large_frames_allocates_nothing(found, role):
    assert found[f"{role} receives 65536"] == NONE


@pytest.mark.parametrize("role", ROLES)
def test_flood_allocates_nothing(found, role):
    assert found[f"{role} receives a flood"] == NONE
