"""Charts of results as SVG, for light and for dark pages, drawn here: no library.

python bench/chart.py RESULTS.json FOLDER

writes NAME-light.svg and NAME-dark.svg for each chart for which there are figures.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from report import median
from works import AIOHTTP, C_BOTH, C_CLIENT, C_SERVER, LAYER, OURS, PICOWS, WEBSOCKETS, WORKS

WIDTH = 760
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


@dataclass(frozen=True)
class Theme:
    """The colours of a page; ``series`` are told apart in greyscale, too."""

    name: str
    text: str
    muted: str
    line: str
    ours: str
    reference: str
    series: tuple[str, ...]


LIGHT = Theme(
    "light", "#1f2328", "#59636e", "#d1d9e0", "#0b7285", "#adb5bd",
    ("#e8590c", "#f08c00", "#862e9c", "#495057"),
)  # fmt: skip
DARK = Theme(
    "dark", "#f0f6fc", "#9198a1", "#3d444d", "#3bc9db", "#6c757d",
    ("#ff922b", "#ffd43b", "#da77f2", "#ced4da"),
)  # fmt: skip
OTHERS = (*PICOWS, LAYER, WEBSOCKETS, AIOHTTP)


def colour(theme: Theme, name: str) -> str:
    if name == OURS:
        return theme.ours
    if name in (C_BOTH, C_CLIENT, C_SERVER):
        return theme.reference
    known = {PICOWS[0]: 0, PICOWS[1]: 1, LAYER: 1, WEBSOCKETS: 2, AIOHTTP: 3}
    return theme.series[known[name]] if name in known else theme.muted


class Drawing:
    """Shapes, one after the other, in a document of WIDTH."""

    def __init__(self, theme: Theme, title: str, subtitle: str) -> None:
        self.theme = theme
        self._title = title
        self._shapes: list[str] = []
        self.text(0, 20, title, size=16, weight=600)
        self.text(0, 40, subtitle, size=12, fill=theme.muted)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 12,
        weight: int = 400,
        anchor: str = "start",
        fill: str = "",
    ) -> None:
        self._shapes.append(
            f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
            f"text-anchor='{anchor}' fill='{fill or self.theme.text}'>{escape(text)}</text>"
        )

    def bar(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        self._shapes.append(
            f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(width, 1):.1f}' height='{height:.1f}' "
            f"rx='2' fill='{fill}'/>"
        )

    def line(self, points: Iterable[tuple[float, float]], stroke: str, width: float = 1) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(
            f"<polyline points='{path}' fill='none' stroke='{stroke}' stroke-width='{width}' "
            "stroke-linejoin='round'/>"
        )

    def dot(self, x: float, y: float, fill: str) -> None:
        self._shapes.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{fill}'/>")

    def document(self, height: float) -> str:
        shapes = "\n".join(self._shapes)
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' "
            f"width='{WIDTH}' height='{height:.0f}' role='img' {FONT}>\n"
            f"<title>{escape(self._title)}</title>\n{shapes}\n</svg>\n"
        )


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# ---- figures out of results ----


def medians(
    results: dict[str, Any], work: str, case: str, loop: str, figure: str
) -> dict[str, float]:
    """Return the median of each contestant."""
    for result in results["results"]:
        if (result["work"], result["case"], result["loop"]) == (work, case, loop):
            found = {
                name: median(WORKS[work], turns, figure) for name, turns in result["turns"].items()
            }
            return {name: value for name, value in found.items() if value is not None}
    return {}


Group = tuple[str, dict[str, float]]


def groups(
    results: dict[str, Any], figure: str, parts: Iterable[tuple[str, str, str, str]]
) -> list[Group]:
    """Return (label, medians) for each (label, work, case, loop) that was measured."""
    found = [
        (label, medians(results, work, case, loop, figure)) for label, work, case, loop in parts
    ]
    return [(label, values) for label, values in found if OURS in values and len(values) > 1]


# ---- kinds of charts ----


def bars(theme: Theme, title: str, subtitle: str, data: list[Group], who: tuple[str, ...]) -> str:
    """Draw a bar for each contestant, in groups; shorter is better."""
    drawing = Drawing(theme, title, subtitle)
    label_width, value_width, height, y = 190, 120, 18, 62.0
    room = WIDTH - label_width - value_width
    largest = max(value for _, values in data for name, value in values.items() if name in who)
    for label, values in data:
        drawing.text(0, y + 12, label, weight=600)
        y += 22
        for name in who:
            if name not in values:
                continue
            weight = 600 if name == OURS else 400
            drawing.text(label_width - 10, y + 13, name, weight=weight, anchor="end")
            width = values[name] / largest * room
            drawing.bar(label_width, y, width, height - 3, colour(theme, name))
            text = number(values[name])
            if name != OURS and OURS in values and values[OURS] > 0:
                text += f" ({values[name] / values[OURS]:.1f} x)"
            drawing.text(label_width + width + 6, y + 13, text, weight=weight)
            y += height
        y += 12
    return drawing.document(y)


def curves(theme: Theme, title: str, subtitle: str, data: list[Group], who: tuple[str, ...]) -> str:
    """Draw a line for each contestant over the groups, from left to right."""
    drawing = Drawing(theme, title, subtitle)
    left, right, top, bottom = 50.0, WIDTH - 190.0, 66.0, 290.0
    largest = max(value for _, values in data for name, value in values.items() if name in who)
    step = 10 ** math.floor(math.log10(largest))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if largest / s <= 6)
    ceiling = math.ceil(largest / step) * step
    span = (right - left) / max(len(data) - 1, 1)

    def at(column: int, value: float) -> tuple[float, float]:
        return left + column * span, bottom - value / ceiling * (bottom - top)

    for i in range(round(ceiling / step) + 1):
        y = at(0, i * step)[1]
        drawing.line([(left, y), (right, y)], theme.line)
        drawing.text(left - 8, y + 4, f"{i * step:g}", anchor="end", fill=theme.muted)
    for column, (label, _) in enumerate(data):
        drawing.text(at(column, 0)[0], bottom + 18, label, anchor="middle", fill=theme.muted)
    ends = []
    for name in who:
        points = [(at(i, v[name])) for i, (_, v) in enumerate(data) if name in v]
        if not points:
            continue
        fill = colour(theme, name)
        drawing.line(points, fill, 2.5 if name == OURS else 1.5)
        for x, y in points:
            drawing.dot(x, y, fill)
        ends.append((points[-1][1], name, fill))
    # The names stand at the lines' ends, and not on each other.
    y = 0.0
    for end, name, fill in sorted(ends):
        y = max(end + 4, y + 15)
        drawing.text(right + 12, y, name, weight=600 if name == OURS else 400, fill=fill)
    return drawing.document(bottom + 34)


# ---- which charts there are ----


@dataclass(frozen=True)
class Chart:
    """What is drawn from which works: parts are (label, work, case, loop)."""

    name: str
    title: str
    subtitle: str
    figure: str
    parts: tuple[tuple[str, str, str, str], ...]
    who: tuple[str, ...] = (OURS, *OTHERS, C_BOTH, C_SERVER)
    draw: Callable[[Theme, str, str, list[Group], tuple[str, ...]], str] = bars


def on_both(label: str, work: str, case: str) -> tuple[tuple[str, str, str, str], ...]:
    names = {"uvloop": "uvloop", "asyncio": "asyncio"}
    return tuple(
        (f"{label}, {name}" if label else name, work, case, loop) for loop, name in names.items()
    )


CHARTS = (
    Chart(
        "echo",
        "CPU of an echo round trip",
        "microseconds of user CPU, client and server together; 256 bytes; less is better",
        "user_us",
        on_both("", "echo", "256 B"),
    ),
    Chart(
        "connections",
        "CPU of an echoed message as connections grow",
        "microseconds of the server's CPU, user and system; 64 bytes; uvloop; less is better",
        "cpu_us",
        tuple(
            (f"{n:,}", "growth", f"{n:,}", "uvloop") for n in (1, 10, 100, 1000, 10_000)
        ),
        draw=curves,
    ),
    Chart(
        "server",
        "CPU of a server's echo",
        "microseconds of user CPU for each message; 64 bytes; less is better",
        "user_us",
        (
            *on_both("100 connections", "server", "100"),
            *on_both("1,000 connections", "server", "1,000"),
        ),
    ),
    Chart(
        "tls",
        "CPU of an echo round trip over TLS",
        "microseconds of user CPU, client and server together; 256 bytes; less is better",
        "user_us",
        on_both("", "tls", "256 B"),
    ),
    Chart(
        "messages",
        "CPU of receiving a whole message",
        "microseconds of user CPU, each message as bytes; uvloop; less is better",
        "user_us",
        (
            ("32 bytes", "messages", "32 B", "uvloop"),
            ("256 bytes, compressed", "messages-compressed", "256 B", "uvloop"),
        ),
    ),
    Chart(
        "memory",
        "Memory of an idle connection",
        "resident bytes on a server, after one echo; less is better",
        "resident_bytes",
        on_both("", "idle", "256 B"),
    ),
)  # fmt: skip


def charts(results: dict[str, Any]) -> dict[str, str]:
    """Return file names and documents, for what was measured."""
    found = {}
    for chart in CHARTS:
        data = groups(results, chart.figure, chart.parts)
        for theme in (LIGHT, DARK):
            if data:
                svg = chart.draw(theme, chart.title, chart.subtitle, data, chart.who)
                found[f"{chart.name}-{theme.name}.svg"] = svg
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results")
    parser.add_argument("folder")
    args = parser.parse_args()
    results = json.loads(Path(args.results).read_text(encoding="utf-8"))
    folder = Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in charts(results).items():
        (folder / name).write_text(svg, encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
