"""The benchmark suite measures: the quickest setting of some works, and what is made of figures."""

from __future__ import annotations

import copy
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCH = Path(__file__).parent.parent / "bench"
MODULES = ["chart", "costs", "ends", "masks", "paths", "report", "run", "worker", "works"]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bench/c needs epoll")


@pytest.fixture(scope="module")
def suite() -> Iterator[Any]:
    """The suite's modules, by name: programs of other folders have modules of the same names."""
    others = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(BENCH))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(BENCH))
        for name in [name for name in sys.modules if name.split(".")[0] in MODULES]:
            del sys.modules[name]
        sys.modules.update(others)


# ---- measuring ----


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "compare.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)


def tiny(file: Path, loop: str, works: list[str], who: list[str]) -> Any:
    """Measure a few messages of some works; return the results, and what was printed."""
    done = compare(
        *works, "--loops", loop, "--cases", "256 B", "100", "32 B", "64 B", "waves of 500",
        "--who", *who, "--rounds", "1", "--scale", "0.001", "--json", str(file),
    )  # fmt: skip
    if "no C compiler" in done.stdout:
        pytest.skip("needs a C compiler")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory: Any) -> Any:
    """Results of works that need nothing but picows_c and a C compiler."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    works = ["echo", "server", "stream", "coalesced", "accept", "idle", "broadcast"]
    return tiny(file, "asyncio", works, ["picows_c", "C server", "loop alone"])


def test_every_turn_has_figures(measured, suite):
    results, text = measured
    assert len(results["results"]) == 7, text
    for result in results["results"]:
        work = suite["works"].WORKS[result["work"]]
        assert "picows_c" in result["turns"], (result["missing"], text)
        # (Without uvloop one of them cannot take part.)
        missing = [who for who in result["missing"] if "uvloop" not in who]
        assert not [who for who in missing if "ended" in result["missing"][who]], text
        for who, turns in result["turns"].items():
            for name in work.figures:
                figure = suite["report"].median(work, turns, name)
                assert figure is not None, (work.name, who, name)
                assert figure >= 0


def test_the_reference_takes_part(measured):
    results, text = measured
    server = next(r for r in results["results"] if r["work"] == "server")
    assert server["turns"]["C server (epoll)"][0]["server"]["rate"] > 0, text


def takes_part_alone(results: dict[str, Any], text: str, suite: Any) -> None:
    """On each loop: it reads in another way there."""
    name = suite["works"].ALONE
    took_part = set()
    for result in results["results"]:
        for turn in result["turns"].get(name, []):
            took_part.add(result["work"])
            for end in suite["works"].WORKS[result["work"]].measured:
                assert turn[end]["rate"] > 0, (result["work"], end)
    assert took_part == {"echo", "server", "accept", "broadcast"}, text
    # What stands there is CPython's loop, or uvloop's: no library, and none is said to be missing.
    assert results["settings"]["echo"][name].startswith("CPython ")


def test_the_loop_alone_takes_part(measured, suite):
    takes_part_alone(*measured, suite)


def test_the_loop_alone_takes_part_on_uvloop(tmp_path, suite):
    pytest.importorskip("uvloop")
    works = ["echo", "server", "accept", "broadcast"]
    takes_part_alone(*tiny(tmp_path / "results.json", "uvloop", works, ["loop alone"]), suite)


def test_the_loop_alone_is_no_rival(suite):
    """It is no library: what it takes is no goal, whoever is below it."""
    alone = suite["works"].ALONE
    for work in suite["works"].WORKS.values():
        assert not [goal for goal in work.goals if alone in goal.against], work.name
        # It stands below the others in a table.
        assert alone not in [who.name for who in work.contestants[:-1]], work.name


def test_who_is_not_there_is_named(measured):
    results, text = measured
    assert "no --peer: picows is not measured" in text
    assert "not measured" in text.split("goals")[-1]
    assert results["settings"]["echo"]["picows_c"].startswith("picows_c ")


def test_unknown_work_is_refused():
    done = compare("nonsense")
    assert done.returncode != 0
    assert "no such work: nonsense" in done.stderr


def test_every_work_is_listed(suite):
    done = compare("--list")
    assert done.returncode == 0, done.stderr
    for name, work in suite["works"].WORKS.items():
        assert f"{name}: {work.title}" in done.stdout


def test_every_role_exists(suite):
    """A work names roles that its contestants' ends have."""
    c_roles = {"echo", "source", "ask", "knock", "stay", "hear"}
    ends = {
        name: importlib.import_module(f"ends.{module}")
        for name, module in suite["worker"].ENDS.items()
    }
    for work in suite["works"].WORKS.values():
        for who in work.contestants:
            for role, program in ((work.server, who.server), (work.client, who.client)):
                if program is not None:
                    has = c_roles if program.library == "C" else ends[program.library].ROLES
                    assert role in has, (work.name, who.name)


# ---- another build, and where the time goes ----


def test_another_build_takes_turns(tmp_path, suite):
    lib = Path(importlib.import_module("picows_c").__file__ or "").parent.parent
    file = tmp_path / "results.json"
    done = compare(
        "server", "--cases", "100", "--loops", "asyncio", "--before", str(lib),
        "--rounds", "2", "--scale", "0.001", "--json", str(file),
    )  # fmt: skip
    if "no C compiler" in done.stdout:
        pytest.skip("needs a C compiler")
    assert done.returncode == 0, done.stdout + done.stderr
    works = suite["works"]
    (result,) = json.loads(file.read_text())["results"]
    # Nobody else was named, and goals are about others.
    assert list(result["turns"]) == [works.OURS, works.BEFORE]
    assert [len(turns) for turns in result["turns"].values()] == [2, 2]
    assert result["verdicts"] == []
    assert f"{works.OURS} / {works.BEFORE}: rate " in done.stdout


def test_the_build_before_is_the_one_of_its_folder(suite, tmp_path):
    run, works = suite["run"], suite["works"]
    work = works.beside(works.WORKS["echo"], "/before")
    bench = run.Bench(tmp_path)
    before = {
        who.name: "PYTHONPATH=/before"
        in run.command(bench, work, work.cases[0], who, "asyncio", end)
        for who in work.contestants
        for end in ("server", "client")
        if who.name in (works.OURS, works.BEFORE)
    }
    assert before == {works.OURS: False, works.BEFORE: True}


def test_a_build_that_is_not_there_is_refused(tmp_path):
    done = compare("server", "--before", str(tmp_path))
    assert done.returncode != 0
    assert "has no picows_c" in done.stderr


PERF = """
    ffffffff810 tcp_sendmsg (%(kernel)s)
    ffffffff811 __sys_sendto (%(kernel)s)
    ffffffff812 do_syscall_64 (%(kernel)s)
    7f001 __send (/usr/lib/libc.so.6)

    ffffffff820 finish_task_switch.isra.0 (%(kernel)s)
    ffffffff821 schedule (%(kernel)s)
    ffffffff822 exit_to_user_mode (%(kernel)s)
    7f001 __send (/usr/lib/libc.so.6)

    ffffffff812 do_syscall_64 (%(kernel)s)

    7f002 reader_show (/x/lib/picows_c/_core.cpython-311-x86_64-linux-gnu.so)
    7f003 _PyEval_EvalFrameDefault (/x/lib/libpython3.11.so.1.0)

    7f004 __pyx_f (/x/uvloop/loop.cpython-311-x86_64-linux-gnu.so)
"""


def test_samples_are_counted_by_what_they_belong_to(suite):
    costs = suite["costs"]
    found = [costs.cost(frames) for frames in costs.samples(PERF % {"kernel": "[kernel.kallsyms]"})]
    assert found == [
        ("send", False),
        (costs.SWITCHING, False),
        (costs.BETWEEN, False),
        ("picows_c", True),
        ("uvloop", True),
    ]


# ---- the ways within a process ----


def test_every_way_runs(suite):
    for name, make in suite["paths"].PATHS.items():
        way = make()
        try:
            assert way.per > 0, name
            way.call()
        finally:
            way.close()


def test_way_delivers(suite):
    paths = suite["paths"]
    got = []

    class Counting(paths.Quiet):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            got.append(frame.get_payload_as_bytes())

    for role in ("server", "client"):
        end = paths.Connected(role, Counting)
        key = paths.KEY if role == "server" else b""
        paths.feed(end.protocol, paths.frame_of(b"one", key=key) * 3)
        end.transport.send(2, b"two")
        assert b"two" in end.loop.wire.last or role == "client"
        end.close()
    assert got == [b"one"] * 6


# ---- what is made of figures ----


def turns(rate: float, user: float, size: float = 1000.0) -> list[dict[str, Any]]:
    figures = {"rate": rate, "user_us": user, "system_us": 1.0, "cpu_seconds": 2.0, "busy": 0.9}
    return [
        {"client": {**figures, "rate": rate * part}, "server": {**figures, "resident_bytes": size}}
        for part in (0.9, 1.0, 1.2)
    ]


@pytest.fixture
def sample(suite) -> dict[str, Any]:
    """Results of every work, made up: ours is twice as good as all others."""
    machine = {
        "cpu": "A <fast> & small one", "cores": 2, "system": "Linux", "python": "3.13",
        "compiler": "cc", "pinned": "taskset -c 0",
    }  # fmt: skip
    results = []
    for work in suite["works"].WORKS.values():
        for loop in work.loops:
            for case in work.cases:
                if work.kind == "mask":
                    cells = [[0, 1, 2.0, 2.0, 4.0], [1, 1, 3.0, 2.9, 2.0]]
                    lengths = (1, 1024, 4096)
                    found = {"picows_c": [{"length": n, "cells": cells} for n in lengths]}
                else:
                    found = {
                        who.name: turns(1000, 2.0, 500.0)
                        if who.name == "picows_c"
                        else turns(500, 4.0)
                        for who in work.contestants
                    }
                result = {
                    "work": work.name, "case": case.name, "loop": loop, "rounds": 3,
                    "turns": found, "missing": {},
                }  # fmt: skip
                result["verdicts"] = list(suite["report"].judge(work, case.name, loop, result))
                results.append(result)
    return {
        "machine": machine, "rounds": 3, "scale": 0.5, "results": results,
        "settings": {"echo": {"picows_c": "picows_c | 1"}},
    }  # fmt: skip


def result_of(results: dict[str, Any], work: str, loop: str = "uvloop") -> dict[str, Any]:
    return next(r for r in results["results"] if (r["work"], r["loop"]) == (work, loop))


def test_verdicts(sample, suite):
    judge, works = suite["report"].judge, suite["works"].WORKS
    result = copy.deepcopy(result_of(sample, "echo"))
    rate, cpu, reference = judge(works["echo"], "256 B", "uvloop", result)
    assert (rate["ratio"], rate["met"]) == (2.0, True)
    assert (cpu["ratio"], cpu["met"]) == (0.5, True)
    assert reference["against"] == "C client (epoll)"
    # The rival that is hardest to beat counts.
    result["turns"]["picows, aiofastnet"] = turns(4000, 100.0)
    rate, cpu, _ = judge(works["echo"], "256 B", "uvloop", result)
    assert (rate["ratio"], rate["met"], rate["against"]) == (0.25, False, "picows, aiofastnet")
    assert (cpu["ratio"], cpu["against"]) == (0.5, "picows, loop's transports")
    # Who is not there is not beaten.
    del result["turns"]["C client (epoll)"]
    assert list(judge(works["echo"], "256 B", "uvloop", result))[2]["met"] is None


def test_user_time_of_a_short_turn_is_not_judged(sample, suite):
    result = copy.deepcopy(result_of(sample, "echo"))
    for turn in result["turns"]["picows_c"]:
        turn["server"]["cpu_seconds"] = 0.05
    work = suite["works"].WORKS["echo"]
    rate, cpu, _ = suite["report"].judge(work, "256 B", "uvloop", result)
    assert (rate["met"], cpu["met"]) == (True, None)


def test_spread_is_of_neighbouring_turns(sample, suite):
    result = copy.deepcopy(result_of(sample, "echo"))
    result["turns"]["picows_c"][1]["client"]["rate"] = 3000.0
    work = suite["works"].WORKS["echo"]
    rate = next(suite["report"].judge(work, "256 B", "uvloop", result))
    assert (rate["low"], rate["ratio"], rate["high"]) == (2.0, 2.0, 6.0)


def test_growth_is_compared_with_an_earlier_case(sample, suite):
    judge, work = suite["report"].judge, suite["works"].WORKS["growth"]
    result = {"turns": {"picows_c": turns(1000, 5.0)}, "earlier": {"10": turns(1000, 2.0)}}
    cpu, user, _ = judge(work, "1,000", "uvloop", result)
    assert (cpu["ratio"], cpu["met"]) == (2.0, False)
    assert (user["ratio"], user["goal"]) == (2.5, "user CPU <= 1.25 x that of 10")


def test_masks_are_judged_by_their_worst_cell(sample, suite):
    worst, zeros = result_of(sample, "mask")["verdicts"]
    assert (worst["ratio"], worst["met"]) == (1.5, False)
    assert "1,024" in worst["against"]
    assert zeros["met"] is True


def test_text_names_the_goal(sample, suite):
    text = suite["report"].everything(sample)
    assert "met      goal: rate >= 1.1 x the best picows: 2.00 x (2.00 to 2.00)" in text
    assert "NOT MET  goal: time <= 1 x picows at every length" in text


def test_markdown_is_renewed_between_its_marks(sample, suite):
    renewed = suite["report"].renewed
    text = "before\n<!-- figures: goals -->\nold\n<!-- /figures -->\nafter\n"
    once = renewed(text, sample)
    assert once.startswith("before\n")
    assert once.endswith("<!-- /figures -->\nafter\n")
    assert "old" not in once
    assert (
        "| echo, 256 B | uvloop | rate >= 1.1 x the best picows | 2.00 x | 2.00-2.00 | met |"
        in once
    )
    assert renewed(once, sample) == once
    for name in ("machine", "settings", *suite["works"].WORKS):
        table = renewed(f"<!-- figures: {name} -->\n<!-- /figures -->", sample)
        assert len(table.splitlines()) > 2, name
    with pytest.raises(ValueError, match="nonsense"):
        renewed("<!-- figures: nonsense -->\n<!-- /figures -->", sample)


def test_goals_of_works_that_were_not_measured_stay(sample, suite):
    renewed = suite["report"].renewed
    everything = renewed("<!-- figures: goals -->\n<!-- /figures -->", sample)
    one = {**sample, "results": [result_of(sample, "tls"), result_of(sample, "tls", "asyncio")]}
    assert renewed(everything, one) == everything
    marked = everything.replace("2.00-2.00", "1.00-1.00")
    lines = renewed(marked, one).splitlines()
    assert [line for line in lines if "2.00-2.00" in line] == [
        line for line in everything.splitlines() if line.startswith("| tls") and "2.00" in line
    ]
    assert len(lines) == len(everything.splitlines())


def test_table_without_figures_stays(suite):
    text = "<!-- figures: echo -->\nold\n<!-- /figures -->"
    assert suite["report"].renewed(text, {"results": []}) == text


def test_documents_have_known_marks(suite):
    """What the documentation asks for can be made."""
    root = BENCH.parent
    known = {"machine", "settings", "goals", *suite["works"].WORKS}
    for name in ("docs/performance.md", "README.md"):
        marks = {match[1] for match in suite["report"].MARKED.findall((root / name).read_text())}
        assert marks <= known
        assert marks, name


def test_charts(sample, suite):
    documents = suite["chart"].charts(sample)
    names = {f"{c.name}-{t}.svg" for c in suite["chart"].CHARTS for t in ("light", "dark")}
    assert set(documents) == names
    for name, svg in documents.items():
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for shape in root.iter("{http://www.w3.org/2000/svg}rect"):
            right = float(shape.attrib["x"]) + float(shape.attrib["width"])
            bottom = float(shape.attrib["y"]) + float(shape.attrib["height"])
            assert right <= width, name
            assert bottom <= height, name
        assert "picows_c" in svg
    assert documents["echo-light.svg"] != documents["echo-dark.svg"]
    assert suite["chart"].charts({"results": []}) == {}


def test_report_and_chart_are_commands(sample, tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    results.write_text(json.dumps(sample))
    page.write_text("<!-- figures: echo -->\n<!-- /figures -->\n")
    for command in (["report.py", results, page], ["chart.py", results, tmp_path / "charts"]):
        script, *rest = command
        done = subprocess.run(
            [sys.executable, BENCH / script, *rest], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "**picows_c**" in page.read_text()
    assert len(os.listdir(tmp_path / "charts")) == 12
