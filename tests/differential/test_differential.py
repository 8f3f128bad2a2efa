"""Each script with picows 2.3.1 and with picows_c: the same, but for what the page lists.

A script records steps, ``log(step, value)``. Its ``DIFFERS`` maps ids of the table of
docs/coming-from-picows.md to the steps that have to differ; all others have to be the same.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import LOOPS

import picows_c

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs/coming-from-picows.md"
# `make oracle` makes it; PICOWS_ORACLE names another one.
ORACLE = Path(os.environ.get("PICOWS_ORACLE", ROOT / "build/picows/bin/python"))
RUN_TIMEOUT = 180

SCRIPTS = {path.stem: path for path in sorted(HERE.glob("scripts/*.py"))}
DIFFERS: dict[str, dict[str, list[str]]] = {
    name: runpy.run_path(str(path)).get("DIFFERS", {}) for name, path in SCRIPTS.items()
}

Log = dict[str, dict[str, Any]]


def listed_ids() -> list[str]:
    """The ids in the first column of the page's tables."""
    return re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.read_text(), re.MULTILINE)


def is_oracle(python: Path) -> bool:
    code = "import picows; assert picows.__version__ == '2.3.1'"
    return python.exists() and subprocess.call([str(python), "-c", code]) == 0


def make_certificates(folder: Path) -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Log]:
    """What every script told, by library and loop; one process each, side by side.

    Empty where something is missing.
    """
    if not is_oracle(ORACLE) or not importlib.util.find_spec("trustme"):
        return {}
    folder = tmp_path_factory.mktemp("differential")
    make_certificates(folder)
    environment = {**os.environ, "PICOWS_DIFFERENTIAL_PEM": str(folder)}
    environment.pop("PYTHONPATH", None)
    ours = {**environment, "PYTHONPATH": str(Path(picows_c.__file__).resolve().parents[1])}
    runs = {}
    for kind in LOOPS:
        for module, python, env in (
            ("picows", str(ORACLE), environment),
            ("picows_c", sys.executable, ours),
        ):
            path = folder / f"{module}-{kind}"
            with open(f"{path}.out", "w") as out, open(f"{path}.err", "w") as err:
                run = subprocess.Popen(
                    [python, str(HERE / "run.py"), module, kind], env=env, stdout=out, stderr=err
                )
            runs[module, kind] = run, path
    try:
        return {key: collect(*run) for key, run in runs.items()}
    finally:
        for run, _ in runs.values():
            run.kill()
            run.wait()


def collect(run: subprocess.Popen[bytes], path: Path) -> Log:
    status = run.wait(RUN_TIMEOUT)
    log: Log = {}
    for line in Path(f"{path}.out").read_text().splitlines():
        script, step, value = json.loads(line)
        steps = log.setdefault(script, {})
        if step is None and value is None:
            continue
        step = "the end" if step is None else step
        assert step not in steps, f"{script}.py has the step {step!r} twice"
        steps[step] = value
    if status != 0:
        last = next(reversed(log), "none")
        err = Path(f"{path}.err").read_text()
        log.setdefault(last, {})["the process"] = f"ended with {status}: {err}"
    return log


@pytest.mark.parametrize("script", SCRIPTS)
def test_script(script: str, loop_kind: str, logs: dict[tuple[str, str], Log], need: Any) -> None:
    need("picows 2.3.1 (make oracle) and trustme", logs)
    theirs = logs["picows", loop_kind].get(script)
    ours = logs["picows_c", loop_kind].get(script)
    assert theirs, f"{script}.py told nothing with picows"
    assert ours, f"{script}.py told nothing with picows_c"
    for log in (theirs, ours):
        for end in ("the end", "the process"):
            if end in log:
                pytest.fail(log[end], pytrace=False)
    assert list(theirs) == list(ours), "not the same steps"
    differing = {step for steps in DIFFERS[script].values() for step in steps}
    problems = [
        f"{step}\n    picows:   {theirs[step]}\n    picows_c: {ours[step]}"
        for step in ours
        if step not in differing and theirs[step] != ours[step]
    ]
    problems += [
        f"{step}: is listed to differ, and does not: {ours[step]}"
        for step in ours
        if step in differing and theirs[step] == ours[step]
    ]
    problems += [f"{step}: hangs with picows_c" for step in ours if ours[step] == "hangs"]
    problems += [f"{step}: is listed to differ, and is no step" for step in differing - set(ours)]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def test_page_lists_exactly_what_differs() -> None:
    listed = listed_ids()
    assert sorted(set(listed)) == sorted(listed), "an id has two rows"
    assert set(listed) == {id for differs in DIFFERS.values() for id in differs}
