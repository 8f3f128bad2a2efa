"""The Autobahn conformance suite finds nothing, in the server and in the client."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "compliance"
# Messages, framing, UTF-8, closing, large messages; 12 and 13 are about compression.
GROUPS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]


def load_run():
    spec = importlib.util.spec_from_file_location("compliance_run", HERE / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


run = load_run()


# Each role on one loop: the loops themselves are not what the suite tests.
@pytest.mark.parametrize(("role", "loop"), [("server", run.LOOPS[0]), ("client", run.LOOPS[-1])])
def test_autobahn(role, loop, need, tmp_path):
    wstest = run.default_wstest().absolute()
    need("the conformance suite (make autobahn-install)", shutil.which(str(wstest)))
    cases = run.run_suite(wstest, role, loop, tmp_path, cases=GROUPS)
    assert {case.group for case in cases} == {1, 2, 3, 4, 5, 6, 7, 9, 10}
    assert len(cases) == 301
    assert all(case.passed for case in cases), f"\n{run.table(cases)}\n{run.remarks(cases)}"
