"""Two builds of picows_c, or more, side by side in one run: what a change gains.

    make bench-build && cp -r build/release/lib /tmp/before    # and again after the change
    python bench/builds.py /tmp/before build/release/lib --works server broadcast --rounds 6

Each folder has a picows_c in it. The builds take turns in the works of bench/compare.py, pinned as
there, and are compared with the first one: medians of the figures, medians of the ratios of
neighbouring turns, the least and the greatest ratio. A folder may be named twice: how far its two
turns are apart is what the machine's noise makes of no change at all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from run import Bench, figure, raise_descriptor_limit, turn, usable_cores
from works import OURS, WORKS, Case, Contestant, Work

FIGURES = ("rate", "user_us", "cpu_us", "p50_us", "p99_us")


# What one turn of a build gave.
Figures = dict[str, float]


def compared(rounds: list[list[Figures]], at: int, name: str) -> str:
    """Return how a build's figure stands to that of the first one."""
    # (A clock that ticks may find no user time in a short turn.)
    ratios = [row[at][name] / row[0][name] for row in rounds if row[0][name] > 0]
    if not ratios:
        return ""
    return f"({statistics.median(ratios):.3f} x, {min(ratios):.2f} to {max(ratios):.2f})"


class Builds:
    """The builds, and how they take turns."""

    def __init__(self, bench: Bench, folders: list[str], rounds: int) -> None:
        self._bench = bench
        self._folders = folders
        self._rounds = rounds

    def _turns(self, work: Work, case: Case, loop: str, who: Contestant) -> list[list[Figures]]:
        """Return the figures of each round, for each build."""
        rounds: list[list[Figures]] = []
        for number in range(self._rounds):
            rounds.append([])
            for folder in self._folders:
                where = f"{work.name} {case.name}, {loop}: round {number + 1}/{self._rounds}"
                print(f"{where}, {folder}", file=sys.stderr, flush=True)
                os.environ["PYTHONPATH"] = folder
                result = turn(self._bench, work, case, who, loop)
                found = {name: figure(work, result, name) for name in FIGURES}
                rounds[-1].append({name: n for name, n in found.items() if n is not None})
        return rounds

    def compare(self, work: Work, case: Case, loop: str) -> None:
        who = next(who for who in work.contestants if who.name == OURS)
        rounds = self._turns(work, case, loop, who)
        print(f"{work.name} {case.name}, {loop}")
        for at, folder in enumerate(self._folders):
            cells = []
            for name in rounds[0][0]:
                median = statistics.median(row[at][name] for row in rounds)
                cells.append(f"{name} {median:,.2f} {compared(rounds, at, name)}".rstrip())
            print(f"  {folder}: {'; '.join(cells)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--works", nargs="+", default=["server"], help="of bench/compare.py")
    parser.add_argument("--cases", nargs="+", help="only these cases of a work")
    parser.add_argument("--loops", nargs="+", default=["uvloop", "asyncio"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="send this part of the messages")
    args = parser.parse_args()
    for name in args.works:
        if name not in WORKS or WORKS[name].kind != "turn":
            parser.error(f"no such work with processes: {name}")
    for folder in args.folders:
        if not (Path(folder) / "picows_c").is_dir():
            parser.error(f"{folder} has no picows_c")
    raise_descriptor_limit()
    folders = [os.path.abspath(folder) for folder in args.folders]
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), None, args.scale, usable_cores())
        builds = Builds(bench, folders, args.rounds)
        for work in (WORKS[name] for name in args.works):
            for loop in (loop for loop in args.loops if loop in work.loops):
                for case in work.cases:
                    if not args.cases or case.name in args.cases:
                        builds.compare(work, case, loop)


if __name__ == "__main__":
    main()
