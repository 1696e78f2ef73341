"""Histograms of durations, one below the other on one logarithmic axis, for `bench.picture`.

| key | |
|---|---|
| `title`, `subtitle`, `foot` | texts; all but the title may be missing |
| `axis` | `[from, to]` in milliseconds; what lies outside is drawn at its edge |
| `rows` | `label`, `note` (smaller, beside it), `ours`, and one of the two below |
| `bins` of a row | `[from, to, share of all]`: a column for each, the highest as high as the row |
| `until` of a row | milliseconds: a bar from the edge up to there, for what is only known to lie within it |
| `marks` of a row | what was promised: a line at so many milliseconds for each name |
"""

import math
from dataclasses import dataclass
from typing import Any

from bench.svg import MARGIN, WIDTH, card, rect, text, top_of

HIGH, FLAT = 54.0, 14.0
SECOND = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One distribution."""

    label: str
    note: str
    ours: bool
    bins: tuple[tuple[float, float, float], ...]
    until: float | None
    marks: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """What to draw."""

    title: str
    subtitle: str
    foot: str
    axis: tuple[float, float]
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, described: dict[str, Any]) -> "Histogram":
        """The histograms that a benchmark's JSON describes."""
        rows = tuple(
            Row(
                row["label"],
                row.get("note", ""),
                bool(row.get("ours")),
                tuple((low, high, share) for low, high, share in row.get("bins", ())),
                row.get("until"),
                tuple(row.get("marks", {}).items()),
            )
            for row in described["rows"]
        )
        low, high = described["axis"]
        return cls(
            described["title"], described.get("subtitle", ""), described.get("foot", ""), (low, high), rows
        )

    def svg(self) -> str:
        """The picture as a complete SVG file."""
        top = y = top_of(self.subtitle) + 10
        parts: list[str] = []
        for row in self.rows:
            parts.append(text(MARGIN, y + 12, row.label, "label"))
            parts.append(text(WIDTH - MARGIN, y + 12, row.note, "soft", "end"))
            y += 20
            parts += self._row(row, y)
            y += (HIGH if row.bins else FLAT) + 14
        return card(self.title, self.subtitle, self.foot, y + 18, self._grid(top, y - 6) + parts)

    def _row(self, row: Row, y: float) -> list[str]:
        colour = "ours" if row.ours else "s0"
        bottom = y + HIGH
        most = max((share for _, _, share in row.bins), default=1.0)
        parts = []
        for low, high, share in row.bins:
            left, right = self._x(low), self._x(high)
            tall = max(share / most * HIGH, 0.6)  # one line in twenty thousand is to be seen too
            parts.append(rect(left + 0.5, bottom - tall, max(right - left - 1, 1), tall, colour))
        if row.until is not None:
            parts.append(rect(self._x(0), y, self._x(row.until) - self._x(0), FLAT, colour))
        for name, mark in row.marks:
            x = self._x(mark)
            parts.append(f'<path class="whisker" d="M{x:.1f} {y:.1f}V{bottom:.1f}" stroke-dasharray="3 3"/>')
            parts.append(text(x + 4, y + 10, f"{name} {_duration(mark)}", "soft"))
        return parts

    def _grid(self, top: float, bottom: float) -> list[str]:
        parts = []
        for power in range(math.ceil(math.log10(self.axis[0])), math.floor(math.log10(self.axis[1])) + 1):
            x = self._x(10.0**power)
            parts.append(f'<path class="grid" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
            parts.append(text(x, bottom + 15, _duration(10.0**power), "soft", "middle"))
        return parts

    def _x(self, milliseconds: float) -> float:
        low, high = self.axis
        inside = min(max(milliseconds, low), high)
        return MARGIN + 8 + (WIDTH - 2 * MARGIN - 16) * math.log(inside / low) / math.log(high / low)


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:g} ms" if milliseconds < SECOND else f"{milliseconds / SECOND:g} s"
