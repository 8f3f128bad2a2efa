"""A loop a thread, with and without a GIL; sub-interpreters that share it or have their own."""

from __future__ import annotations

import sys

import pytest
from scripts import run_script


def test_a_loop_in_each_of_several_threads(loop_kind):
    out = run_script("threads.py", loop_kind, 4, 100, 50, timeout=230).stdout
    word, before, after = out.split()
    assert word == "ok"
    # On a free-threaded build nothing of ours has turned the GIL on. (uvloop does.)
    if loop_kind == "asyncio":
        assert before == after


@pytest.mark.parametrize("gil", ["shared", "own"])
def test_sub_interpreters_echo(gil, tmp_path):
    if sys.version_info < (3, 10):
        pytest.skip("asyncio and ssl of CPython 3.9 have state that interpreters share")
    out = run_script("subinterpreters.py", gil, 3, 3, tmp_path / "done").stdout
    if out.startswith("missing"):
        pytest.skip(out.strip())
    assert out == "ok\n"
