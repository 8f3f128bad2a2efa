"""Rate, CPU, latency and memory beside others, in one run.

    python bench/compare.py [WORK ...] [--peer PYTHON] [--rounds 5] [--loops uvloop asyncio]

PYTHON is an interpreter that has picows and uvloop; websockets and aiohttp are those of the
interpreter that runs this. `make bench` brings all of it.

All take turns (A B C A B C ...), so that a noisy machine disturbs all of them; what counts are the
medians of the ratios of neighbouring turns, and each verdict shows their spread. CPU is that of
the process, by getrusage(), from the first message after the warm-up (a tenth) on. The end that is
measured has the first core, the load the second one; where both ends are measured they share the
first one, unless the work is about two cores. The load is the C program of bench/c where it can be.

With --before another build of picows_c takes turns with this one, and nobody else but who is named;
where both are the same the spread is the machine's noise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import goals_text, judge, result_text
from run import Bench, NotHere, machine, play, raise_descriptor_limit, settings, usable_cores
from works import BEFORE, OURS, WORKS, Case, Work, beside

QUICK_ROUNDS, QUICK_SCALE = 2, 0.15


def progress(text: str) -> None:
    """Show where a long run is: one line that is overwritten, or lines in a log."""
    if sys.stderr.isatty():
        print(f"{text:100}", end="\r", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    names = "\n".join(f"  {work.name:20} {work.title}" for work in WORKS.values())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nworks:\n{names}",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help="all, where none is named")
    parser.add_argument("--peer", help="a Python that has picows and uvloop")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--loops", nargs="+", choices=["uvloop", "asyncio"])
    parser.add_argument("--cases", nargs="+", help="only these cases of a work")
    parser.add_argument("--who", nargs="+", help="only contestants whose name has one of these")
    parser.add_argument("--before", metavar="FOLDER", help="it has another build of picows_c")
    parser.add_argument("--scale", type=float, help="send this part of the messages")
    parser.add_argument("--quick", action="store_true", help="the main works, two short rounds")
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--list", action="store_true", help="print the works and their goals")
    args = parser.parse_args()
    unknown = set(args.works) - set(WORKS)
    if unknown:
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    if args.peer and not os.path.exists(args.peer):
        parser.error(f"--peer: {args.peer} does not exist")
    if args.before and not Path(args.before, "picows_c").is_dir():
        parser.error(f"--before: {args.before} has no picows_c")
    return args


def list_works() -> None:
    for work in WORKS.values():
        print(f"{work.name}: {work.title}")
        for case in work.cases:
            print(f"    case {case.name}: {case.connections} connections, {case.count:,} messages")
        for goal in work.goals:
            where = f" [{', '.join(goal.loops)}]"
            print(f"    goal {goal.figure} {goal.relation} {goal.factor:g} x {goal.whom}{where}")


class Run:
    """One run: what is measured, and what came of it."""

    def __init__(self, args: argparse.Namespace, bench: Bench) -> None:
        self._args = args
        self._bench = bench
        self._rounds = args.rounds or (QUICK_ROUNDS if args.quick else 5)
        self.results: dict[str, Any] = {
            "machine": machine(bench),
            "rounds": self._rounds,
            "scale": bench.scale,
            "settings": {},
            "results": [],
        }

    def _wanted(self, name: str) -> bool:
        who = self._args.who
        if name in (OURS, BEFORE) and self._args.before:
            return True
        is_named = any(part in name for part in who or [])
        return is_named if self._args.before else is_named or not who

    def loops(self, work: Work) -> list[str]:
        some = work.quick if self._args.quick and work.quick else work.loops
        return [loop for loop in self._args.loops or some if loop in work.loops]

    def work(self, work: Work) -> None:
        """Measure all cases of a work on all loops, and print what came of each."""
        found = settings(self._bench, work)
        self.results["settings"][work.name] = found
        print(f"\n== {work.name}: {work.title}")
        for name, text in found.items():
            if self._wanted(name):
                print(f"   {name}: {text}")
        for loop in self.loops(work):
            earlier: dict[str, Any] = {}
            for case in work.cases[:1] if self._args.quick else work.cases:
                if self._args.cases and case.name not in self._args.cases:
                    continue
                result = self._case(work, case, loop, earlier)
                earlier[case.name] = result["turns"].get(OURS, [])

    def _case(self, work: Work, case: Case, loop: str, earlier: dict[str, Any]) -> dict[str, Any]:
        played = play(self._bench, work, case, loop, self._rounds, self._wanted, progress)
        progress("")
        result = {
            "work": work.name, "case": case.name, "loop": loop, "rounds": self._rounds, **played,
        }  # fmt: skip
        verdicts = judge(work, case.name, loop, {**result, "earlier": earlier})
        result["verdicts"] = list(verdicts)
        self.results["results"].append(result)
        print(result_text(work, result), flush=True)
        self._save()
        return result

    def _save(self) -> None:
        """Write what is there so far: a long run that is stopped has not been in vain."""
        if self._args.json:
            path = Path(self._args.json)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.results, indent=1), encoding="utf-8")


def main() -> None:
    args = parse()
    if args.list:
        list_works()
        return
    names = args.works or [work.name for work in WORKS.values() if work.quick or not args.quick]
    raise_descriptor_limit()
    scale = args.scale or (QUICK_SCALE if args.quick else 1.0)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.peer, scale, usable_cores())
        run = Run(args, bench)
        for key, value in run.results["machine"].items():
            print(f"{key}: {value}")
        if not args.peer:
            print("no --peer: picows is not measured")
        for name in names:
            work = WORKS[name]
            if args.before and work.contestants:
                work = beside(work, os.path.abspath(args.before))
            try:
                run.work(work)
            except NotHere as error:
                print(f"{name}: not measured: {error}")
    print(f"\n{goals_text(run.results)}")


if __name__ == "__main__":
    main()
