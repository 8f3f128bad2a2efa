"""From turns to verdicts, and to text: the terminal's table, and the tables of the documentation.

python bench/report.py RESULTS.json                 prints everything
python bench/report.py RESULTS.json FILE.md ...     renews the tables in Markdown files, between
    <!-- figures: NAME --> and <!-- /figures -->; NAME is "machine", "settings", "goals", or a work
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from masks import second_level_cache, summary
from run import Turn, figure
from works import OURS, WORKS, Goal, Work

HEADS = {
    "rate": "messages/s",
    "user_us": "user us",
    "cpu_us": "user+sys us",
    "busy": "CPU in use",
    "resident_bytes": "bytes each",
    "p50_us": "p50 us",
    "p99_us": "p99 us",
    "p999_us": "p99.9 us",
    "other_p50_us": "other p50 us",
    "other_p99_us": "other p99 us",
    "timer_p50_us": "timer p50 us",
    "timer_p99_us": "timer p99 us",
}
# In a goal's words.
WORDS = {
    "user_us": "user CPU",
    "cpu_us": "CPU",
    "resident_bytes": "memory",
    "worst": "time, worst cell",
    "speed": "speed, worst length",
}
# The system splits CPU by its clock ticks: a turn with less of it has no user time to judge.
LEAST_CPU = 0.1
# Timing of a few nanoseconds is not better than this.
MASK_TOLERANCE = 1.05


def cell(name: str, value: Optional[float]) -> str:
    if value is None:
        return "-"
    if name in ("rate", "resident_bytes"):
        return f"{value:,.0f}"
    if name == "busy":
        return f"{value:.0%}"
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def median(work: Work, turns: list[Turn], name: str) -> Optional[float]:
    values = [figure(work, turn, name) for turn in turns]
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


# ---- verdicts ----


def verdict_of(goal: Goal, text: str, whom: str, ratios: list[float]) -> dict[str, Any]:
    ratio = statistics.median(ratios)
    return {
        "goal": text,
        "against": whom,
        "ratio": ratio,
        "low": min(ratios),
        "high": max(ratios),
        "met": goal.holds(ratio),
    }


def is_too_short(work: Work, turn: Turn, name: str) -> bool:
    """Return whether a turn had too little CPU to tell a user's from the system's."""
    if name != "user_us":
        return False
    return any(turn[end].get("cpu_seconds", 0.0) < LEAST_CPU for end in work.measured)


def pairs(work: Work, mine: list[Turn], other: list[Turn], name: str) -> list[float]:
    """Return the ratios of neighbouring turns."""
    found = []
    for a, b in zip(mine, other):
        if is_too_short(work, a, name) or is_too_short(work, b, name):
            continue
        x, y = figure(work, a, name), figure(work, b, name)
        if x is not None and y:
            found.append(x / y)
    return found


def judge(work: Work, case: str, loop: str, result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a verdict for each goal; of several rivals the one that is hardest to beat counts."""
    turns = result["turns"]
    for goal in work.goals:
        if loop not in goal.loops or (goal.cases and case not in goal.cases):
            continue
        if work.kind == "mask":
            yield from judge_masks(goal, turns.get(OURS, []))
            continue
        word = WORDS.get(goal.figure, goal.figure)
        text = f"{word} {goal.relation} {goal.factor:g} x {goal.whom}"
        if goal.base:
            base = result.get("earlier", {}).get(goal.base, [])
            ratios = pairs(work, turns.get(OURS, []), base, goal.figure)
            if ratios:
                yield verdict_of(goal, text, goal.base, ratios)
            else:
                yield {"goal": text, "against": goal.base, "met": None}
            continue
        found = []
        for name in goal.against:
            if name in turns and OURS in turns:
                ratios = pairs(work, turns[OURS], turns[name], goal.figure)
                if ratios:
                    found.append(verdict_of(goal, text, name, ratios))
        if found:
            sign = 1 if goal.relation == ">=" else -1
            yield min(found, key=lambda verdict: sign * verdict["ratio"])
        else:
            yield {"goal": text, "against": goal.whom, "met": None}


def judge_masks(goal: Goal, rows: list[Any]) -> Iterator[dict[str, Any]]:
    lines = summary(rows)
    if goal.figure == "worst":
        text = "time <= 1 x picows at every length and alignment (within 5 %, the timer's)"
        ratios = [line["worst"] for line in lines if "worst" in line]
        if not ratios:
            yield {"goal": text, "against": "picows", "met": None}
            return
        worst = max(ratios)
        slow = [line["length"] for line in lines if line["worst"] > MASK_TOLERANCE]
        where = f"picows at {', '.join(f'{n:,}' for n in slow)} bytes" if slow else "picows"
        yield {
            "goal": text, "against": where, "ratio": worst, "low": min(ratios), "high": worst,
            "met": worst <= MASK_TOLERANCE,
        }  # fmt: skip
        return
    cache = second_level_cache()
    ratios = [line["zeros"] for line in lines if 1024 <= line["length"] <= cache]
    yield {
        "goal": f"speed >= {goal.factor:g} x that with a key of zeros, 1 KiB to L2",
        "against": "key 0", "ratio": min(ratios), "low": min(ratios), "high": max(ratios),
        "met": min(ratios) >= goal.factor,
    }  # fmt: skip


def verdict_text(verdict: dict[str, Any]) -> str:
    if verdict["met"] is None:
        return f"  ?        goal: {verdict['goal']}: not measured, or too short"
    word = "met    " if verdict["met"] else "NOT MET"
    spread = f"({verdict['low']:.2f} to {verdict['high']:.2f})"
    text = f"  {word}  goal: {verdict['goal']}: {verdict['ratio']:.2f} x {spread}"
    named = verdict["goal"].endswith(verdict["against"])
    return text if named else f"{text}, against {verdict['against']}"


# ---- the terminal ----


def result_text(work: Work, result: dict[str, Any]) -> str:
    """Return the table of one measurement, and the verdicts."""
    turns = result["turns"]
    lines = [
        "",
        f"{work.name} {result['case']}, {result['loop']}: {work.title}; "
        f"medians of {result['rounds']} round{'' if result['rounds'] == 1 else 's'}",
    ]
    if work.kind == "mask":
        from masks import table  # noqa: PLC0415

        lines.append(table(turns.get(OURS, [])))
    else:
        lines.append(f"{'':30}" + "".join(f"{HEADS[name]:>14}" for name in work.figures))
        for name, its_turns in turns.items():
            cells = [cell(key, median(work, its_turns, key)) for key in work.figures]
            lines.append(f"{name:30}" + "".join(f"{text:>14}" for text in cells))
        lines += ratio_lines(work, turns)
        lines += notes(work, turns)
    lines += [f"{name}: not measured: {why}" for name, why in result["missing"].items()]
    lines += [verdict_text(verdict) for verdict in result["verdicts"]]
    return "\n".join(lines)


def ratio_lines(work: Work, turns: dict[str, list[Turn]]) -> Iterator[str]:
    """Compare the first with each of the others; the spread is that of the rounds."""
    if OURS not in turns:
        return
    for name, its_turns in turns.items():
        if name == OURS:
            continue
        cells = []
        for key in work.figures:
            ratios = pairs(work, turns[OURS], its_turns, key)
            if ratios:
                low, high = min(ratios), max(ratios)
                cells.append(f"{WORDS.get(key, key)} {statistics.median(ratios):.2f} x "
                             f"({low:.2f} to {high:.2f})")  # fmt: skip
        yield f"{OURS} / {name}: {', '.join(cells)}"


def notes(work: Work, turns: dict[str, list[Turn]]) -> Iterator[str]:
    """Say what makes a figure less than it should be."""
    for name, its_turns in turns.items():
        without = {
            key for turn in its_turns for end in turn.values() for key in end.get("without", [])
        }
        if without:
            yield f"{name}: this version has no {', '.join(sorted(without))} yet"
    if work.kind != "turn":
        return
    cpu = [
        turn[end]["cpu_seconds"]
        for turn in turns.get(OURS, [])
        for end in work.measured
        if "cpu_seconds" in turn[end]
    ]
    if cpu and statistics.median(cpu) < 0.5:
        yield f"(only {statistics.median(cpu):.2f} s of CPU each turn: short for a figure)"


def everything(results: dict[str, Any]) -> str:
    lines = [f"{key}: {value}" for key, value in results["machine"].items()]
    lines += [
        result_text(WORKS[result["work"]], result)
        for result in results["results"]
        if result["work"] in WORKS
    ]
    return "\n".join([*lines, "", goals_text(results)])


def goals_text(results: dict[str, Any]) -> str:
    """Return one line for each goal."""
    lines = ["goals"]
    for result in results["results"]:
        label = f"{result['work']} {result['case']}, {result['loop']}"
        lines += [f"{label:36}{verdict_text(verdict)}" for verdict in result["verdicts"]]
    found = [verdict["met"] for result in results["results"] for verdict in result["verdicts"]]
    lines.append(
        f"{found.count(True)} met, {found.count(False)} not met, {found.count(None)} not measured"
    )
    return "\n".join(lines)


# ---- Markdown ----


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def machine_table(results: dict[str, Any]) -> list[str]:
    machine = results["machine"]
    text = (
        f"{machine['cpu']}, {machine['cores']} cores; {machine['system']}; "
        f"CPython {machine['python']}; {machine['compiler']}; {machine['pinned']}; "
        f"{results['rounds']} round{'' if results['rounds'] == 1 else 's'}"
    )
    if results.get("scale", 1) != 1:
        text += f" of {results['scale']:g} of the messages: a short run"
    return [text + "."]


def settings_table(results: dict[str, Any]) -> list[str]:
    """Return who was measured, by library; the options that all works have in common."""
    lines = [row(["work", "who", "version and options"]), row(["---"] * 3)]
    for name, settings in results["settings"].items():
        for who, text in settings.items():
            lines.append(row([name, who, text.replace("|", "\\|")]))
    return lines


def work_of(line: str) -> str:
    """Return the work that a row of the goals is about."""
    return line[2:].split(", ", maxsplit=1)[0]


def goals_table(results: dict[str, Any], before: str = "") -> list[str]:
    """Return all verdicts; of works that were not measured those of the table ``before``."""
    measured = {result["work"] for result in results["results"]}
    lines = []
    for line in before.splitlines():
        if work_of(line) in WORKS and work_of(line) not in measured:
            lines.append(line)
    for result in results["results"]:
        for verdict in result["verdicts"]:
            name = f"{result['work']}, {result['case']}"
            if verdict["met"] is None:
                why = "not measured, or too short"
                lines.append(row([name, result["loop"], verdict["goal"], "", "", why]))
                continue
            spread = f"{verdict['low']:.2f}-{verdict['high']:.2f}"
            met = "met" if verdict["met"] else "**not met**"
            cells = [name, result["loop"], verdict["goal"], f"{verdict['ratio']:.2f} x"]
            lines.append(row([*cells, spread, met]))
    order = list(WORKS)
    lines.sort(key=lambda line: order.index(work_of(line)))
    return [row(["work", "loop", "goal", "measured", "spread", ""]), row(["---"] * 6), *lines]


def work_table(results: dict[str, Any], name: str) -> list[str]:
    """Return the medians of a work, each case and loop beside each other."""
    work = WORKS[name]
    if work.kind == "mask":
        return mask_table(results)
    lines = [row(["", "loop", "", *(HEADS[key] for key in work.figures)])]
    lines.append(row(["---"] * 3 + ["---:"] * len(work.figures)))
    for result in results["results"]:
        if result["work"] != name:
            continue
        for who, turns in result["turns"].items():
            cells = [cell(key, median(work, turns, key)) for key in work.figures]
            bold = f"**{who}**" if who == OURS else who
            lines.append(row([result["case"], result["loop"], bold, *cells]))
    return lines if len(lines) > 2 else []


def mask_table(results: dict[str, Any]) -> list[str]:
    lines = [row(["bytes", "ns", "picows, ns", "ratio", "worst ratio"]), row(["---:"] * 5)]
    for result in results["results"]:
        if result["work"] != "mask":
            continue
        for line in summary(result["turns"].get(OURS, [])):
            cells = [f"{line['length']:,}", f"{line['ns']:,.1f}"]
            if "picows" in line:
                cells += [f"{line['picows_ns']:,.1f}", f"{line['picows']:.2f}"]
                cells += [f"{line['worst']:.2f}"]
            lines.append(row(cells + [""] * (5 - len(cells))))
    return lines if len(lines) > 2 else []


MARKED = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)


def renewed(text: str, results: dict[str, Any]) -> str:
    """Return a Markdown text with its tables made from these results.

    A table for which there is nothing stays as it is, and so do the goals of works that were not
    measured.
    """

    def table(match: re.Match[str]) -> str:
        name = match[2]
        makers = {"machine": machine_table, "settings": settings_table}
        if name in makers:
            lines = makers[name](results)
        elif name == "goals":
            lines = goals_table(results, match[0])
        elif name in WORKS:
            lines = work_table(results, name)
        else:
            raise ValueError(f"no figures are called {name!r}")
        return match[0] if not lines else match[1] + "\n" + "\n".join(lines) + "\n\n" + match[3]

    return MARKED.sub(table, text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("results")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    results = json.loads(Path(args.results).read_text(encoding="utf-8"))
    if not args.files:
        print(everything(results))
    for name in args.files:
        path = Path(name)
        path.write_text(renewed(path.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
