"""The Autobahn conformance suite finds nothing, in the server and in the client."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "compliance"
# Messages, framing, UTF-8, closing, large messages; of compression the first case of each group and
# the largest of some (`make autobahn` runs them all).
GROUPS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
GROUPS += [f"12.{group}.1" for group in range(1, 6)] + ["12.1.10", "12.3.7"]
GROUPS += [f"13.{group}.1" for group in range(1, 8)] + ["13.3.9", "13.7.5"]


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
    assert {case.group for case in cases} == {1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13}
    assert len(cases) == 317
    assert all(case.passed for case in cases), f"\n{run.table(cases)}\n{run.remarks(cases)}"
