"""Bar charts for the docs, drawn from a benchmark's JSON: `python -m bench.picture FILE.json FILE.svg`.

| key | |
|---|---|
| `title`, `subtitle`, `foot`, `unit` | texts; all but the title may be missing |
| `kind` | `bars` (default): a bar a row, left to right; `columns`: a column a row, for steps; `histogram`: `histogram.py` |
| `series` | names of the values of each row, when they have several: they are drawn side by side, with a legend |
| `rows` | `label`, `note` (smaller, under the label), `ours` (true: the colour that stands out), `values` |
| `values` of a row | numbers, or `{"median": …, "least": …, "most": …}`, which gets a whisker; empty: the note says why |

Other keys are left alone, so a benchmark's result can be its own picture's description. The card brings its own
background, light or dark as the reader's system is, so that it can be read on any page.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.histogram import Histogram
from bench.svg import MARGIN, WIDTH, card, rect, text, top_of, whisker


@dataclass(frozen=True, slots=True)
class Value:
    """A measured value and how far it strayed."""

    median: float
    least: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, described: float | dict[str, float]) -> "Value":
        if isinstance(described, dict):
            return cls(described["median"], described.get("least"), described.get("most"))
        return cls(described)

    @property
    def top(self) -> float:
        return self.median if self.most is None else max(self.median, self.most)

    def __str__(self) -> str:
        return f"{self.median:,.0f}" if self.median >= 100 or self.median == 0 else f"{self.median:.3g}"


@dataclass(frozen=True, slots=True)
class Row:
    """A bar, or a group of them."""

    label: str
    note: str
    ours: bool
    values: tuple[Value, ...]

    def colour(self, position: int) -> str:
        return "ours" if self.ours and position == 0 else f"s{position % 3}"


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw."""

    title: str
    subtitle: str
    foot: str
    unit: str
    kind: str
    series: tuple[str, ...]
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, described: dict[str, Any]) -> "Chart":
        """The chart that a benchmark's JSON describes."""
        rows = tuple(
            Row(
                row["label"],
                row.get("note", ""),
                bool(row.get("ours")),
                tuple(Value.of(value) for value in row["values"]),
            )
            for row in described["rows"]
        )
        return cls(
            title=described["title"],
            subtitle=described.get("subtitle", ""),
            foot=described.get("foot", ""),
            unit=described.get("unit", ""),
            kind=described.get("kind", "bars"),
            series=tuple(described.get("series", ())),
            rows=rows,
        )

    @property
    def top(self) -> float:
        return max((value.top for row in self.rows for value in row.values), default=0.0) or 1.0

    def svg(self) -> str:
        """The picture as a complete SVG file."""
        y = top_of(self.subtitle)
        parts: list[str] = []
        if len(self.series) > 1:
            y += 22
            parts += self._legend(y - 4)
        height, drawn = (_columns if self.kind == "columns" else _bars)(self, y + 10)
        return card(self.title, self.subtitle, self.foot, height, parts + drawn)

    def _legend(self, y: float) -> Iterator[str]:
        x = float(MARGIN)
        ours = any(row.ours for row in self.rows)
        for position, name in enumerate(self.series):
            yield rect(x, y - 9, 10, 10, "ours" if ours and position == 0 else f"s{position % 3}")
            yield text(x + 15, y, name, "soft")
            x += 34 + 6.4 * len(name)


def _bars(chart: Chart, y: float) -> tuple[float, list[str]]:
    """A bar a value, left to right. The height used, and what is drawn."""
    left = MARGIN + 10 + max(max(7.8 * len(row.label), 6.8 * len(row.note)) for row in chart.rows)
    right = WIDTH - MARGIN - 60
    scale = (right - left) / chart.top
    thick, gap = (20.0, 3.0) if all(len(row.values) < 2 for row in chart.rows) else (14.0, 3.0)
    parts: list[str] = []
    top = y
    for row in chart.rows:
        high = max(len(row.values), 1) * (thick + gap) - gap
        middle = y + high / 2
        parts.append(text(left - 10, middle - (3 if row.note else -4.5), row.label, "label", "end"))
        if row.note:
            parts.append(text(left - 10, middle + 11, row.note, "soft", "end"))
        if not row.values:
            parts.append(text(left + 8, middle + 4.5, "not measured", "soft"))
        for position, value in enumerate(row.values):
            at = y + position * (thick + gap)
            parts.append(rect(left, at, value.median * scale, thick, row.colour(position)))
            if value.least is not None and value.most is not None:
                parts.append(whisker(left + value.least * scale, at + thick / 2, left + value.most * scale))
            end = left + value.top * scale + 8
            parts.append(text(end, at + thick / 2 + 4.5, str(value), "value"))
        y += high + (20 if row.note else 14)
    grid = []
    marks = _marks(chart.top)
    for mark in marks:
        x = left + mark * scale
        grid.append(f'<path class="grid" d="M{x:.1f} {top - 4:.1f}V{y - 8:.1f}"/>')
        unit = f" {chart.unit}" if mark == marks[-1] else ""
        grid.append(text(x, y + 7, f"{mark:,g}{unit}", "soft", "middle"))
    return y + 20, grid + parts


def _columns(chart: Chart, y: float) -> tuple[float, list[str]]:
    """A column a row, bottom up. The height used, and what is drawn."""
    left, high = MARGIN + 52.0, 220.0
    step = (WIDTH - MARGIN - left) / max(len(chart.rows), 1)
    bottom, scale = y + 14 + high, high / chart.top
    parts = []
    for mark in _marks(chart.top):
        at = bottom - mark * scale
        parts.append(f'<path class="grid" d="M{left:.1f} {at:.1f}H{WIDTH - MARGIN}"/>')
        parts.append(text(left - 8, at + 4, f"{mark:,g}", "soft", "end"))
    if chart.unit:
        parts.append(text(left - 8, y + 2, chart.unit, "soft"))
    every = math.ceil(max(7.5 * max((len(row.label) for row in chart.rows), default=0) / step, 1))
    for number, row in enumerate(chart.rows):
        wide = step * 0.86 / max(len(row.values), 1)
        for position, value in enumerate(row.values):
            x = left + step * (number + 0.07) + position * wide
            tall = value.median * scale
            parts.append(rect(x, bottom - tall, wide, tall, row.colour(position)))
        if number % every == 0:
            parts.append(text(left + step * (number + 0.5), bottom + 16, row.label, "soft", "middle"))
    return bottom + 34, parts


def _marks(top: float) -> list[float]:
    """Round numbers for about four grid lines."""
    raw = top / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    return [step * n for n in range(int(top / step) + 1)]


def draw(described: dict[str, Any], target: Path) -> None:
    """Draw what a benchmark's JSON describes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    chart = Histogram if described.get("kind") == "histogram" else Chart
    target.write_text(chart.of(described).svg())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("json", type=Path)
    parser.add_argument("svg", type=Path)
    arguments = parser.parse_args()
    draw(json.loads(arguments.json.read_text()), arguments.svg)
