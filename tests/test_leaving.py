"""The end of the loop, of the process, and what is called after it: no crash, no word."""

from __future__ import annotations

import sys

import pytest
from scripts import run_script

WAYS_OUT = [
    "return", "exit", "exit in a callback", "exit in a flood", "never closed", "forgotten",
    "atexit", "torn down", "torn down last", "cycle", "daemon thread",
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("how", WAYS_OUT)
def test_the_interpreter_ends_in_silence(loop_kind, way, how, scheme, pem_files):
    if (scheme, loop_kind, way) == ("wss", "asyncio", "loop") and sys.version_info < (3, 11):
        pytest.skip("asyncio's TLS before CPython 3.11 complains of loops closed under it")
    done = run_script("leaving.py", how, loop_kind, way, scheme, pem_files)
    assert done.stdout == ""
    if (loop_kind, way) == ("uvloop", "loop") and "exit in" in how:
        # uvloop reports what its own transports' callbacks raise, before it passes it on.
        assert "SystemExit: 0" in done.stderr or scheme == "wss"
    else:
        assert done.stderr == ""


@pytest.mark.parametrize("how", ["return", "never closed", "torn down"])
def test_what_was_left_open_is_said_where_warnings_are_on(loop_kind, how, pem_files):
    done = run_script(
        "leaving.py", how, loop_kind, "auto", "ws", pem_files, python=["-W", "default"]
    )
    told = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert all("ResourceWarning" in line for line in told), done.stderr
    if how == "return" and sys.platform == "linux":
        assert any("open sockets" in line for line in told), done.stderr


def test_loops_that_a_callback_stops_and_nobody_keeps(loop_kind, way):
    assert run_script("dropping.py", loop_kind, way).stdout == "ok\n"
