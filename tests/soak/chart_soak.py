"""The figure of a soak: memory and descriptors over time, from the JSON that run.py wrote.

python tests/soak/chart_soak.py RESULT.json PREFIX
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from chart import DARK, LIGHT, WIDTH, Drawing, Theme

LEFT, RIGHT, HEIGHT, POINTS = 50.0, WIDTH - 110.0, 150.0, 300


def panel(
    drawing: Drawing, top: float, title: str, series: dict[str, list[tuple[float, float]]]
) -> None:
    """Draw lines over time, in minutes, below each other's title."""
    theme = drawing.theme
    drawing.text(0, top - 12, title, weight=600)
    end = max(x for points in series.values() for x, _ in points)
    largest = max(y for points in series.values() for _, y in points)
    step = 10 ** math.floor(math.log10(largest))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if largest / s <= 5)
    ceiling = math.ceil(largest / step) * step
    bottom = top + HEIGHT

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / end * (RIGHT - LEFT), bottom - y / ceiling * HEIGHT

    for i in range(round(ceiling / step) + 1):
        y = at(0, i * step)[1]
        drawing.line([(LEFT, y), (RIGHT, y)], theme.line)
        drawing.text(LEFT - 8, y + 4, f"{i * step:g}", anchor="end", fill=theme.muted)
    for i in range(6):
        label = f"{end * i / 5:.0f} s" if end < 300 else f"{end * i / 300:.0f} min"
        drawing.text(at(end * i / 5, 0)[0], bottom + 18, label, anchor="middle", fill=theme.muted)
    last = 0.0
    colours = (theme.ours, theme.series[0])
    named = sorted(zip(series.items(), colours), key=lambda pair: -pair[0][1][-1][1])
    for (name, points), colour in named:
        every = max(1, len(points) // POINTS)
        drawing.line([at(x, y) for x, y in points[::every]], colour, 2)
        last = max(at(*points[-1])[1] + 4, last + 15)
        drawing.text(RIGHT + 10, last, name, fill=colour)


def figure(theme: Theme, result: dict[str, Any]) -> str:
    """Return the document."""
    counts, samples = result["counts"], result["samples"]
    drawing = Drawing(
        theme,
        f"A soak of {samples[-1]['time'] / 60:.0f} minutes",
        f"{counts['messages']:,} messages of {counts['bytes'] / 1e9:.1f} GB verified, "
        f"{counts['connections']:,} connections, {counts['broken']:,} broken peers",
    )

    def over_time(key: str, unit: float) -> list[tuple[float, float]]:
        return [(sample["time"], sample[key] / unit) for sample in samples]

    memory = {who: over_time(who, 1e6) for who in ("server", "clients")}
    panel(drawing, 84, "Resident memory, MB", memory)
    open_ = {who: over_time(f"{who} descriptors", 1) for who in memory}
    panel(drawing, 310, "Open descriptors", open_)
    return drawing.document(310 + HEIGHT + 30)


def draw(result: dict[str, Any], prefix: str) -> None:
    """Write PREFIX-light.svg and PREFIX-dark.svg."""
    for theme in (LIGHT, DARK):
        Path(f"{prefix}-{theme.name}.svg").write_text(figure(theme, result), encoding="utf-8")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2])
