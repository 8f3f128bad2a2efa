"""Ctrl-C in every phase of a connection: KeyboardInterrupt, nothing lost, nothing left."""

from __future__ import annotations

import signal
import sys

import pytest
from scripts import script

PHASES = [
    "connecting", "tls", "http", "serving", "idle", "flood", "closing", "busy idle", "busy flood",
]  # fmt: skip
ROUNDS = 8

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process of ours")


@pytest.mark.parametrize("phase", PHASES)
def test_a_process_that_is_interrupted_goes_on(loop_kind, way, phase, pem_files):
    if phase.startswith("busy") and way == "loop":
        pytest.skip("busy_poll= is the poller's")
    if (phase, loop_kind, way) == ("flood", "uvloop", "loop"):
        pytest.skip("uvloop's transports take what a callback raises for their connection's end")
    with script("interrupted.py", phase, loop_kind, way, pem_files, ROUNDS) as process:
        heard = []
        # What bounds this is the test's own limit: the script says something or ends.
        for line in process.stdout:
            heard.append(line.strip())
            if line == "ready\n":
                process.send_signal(signal.SIGINT)
        complaint = process.stderr.read()
        assert process.wait() == 0, complaint
    assert heard == ["ready", "interrupted"] * ROUNDS + ["ok"]
    assert complaint == ""
