"""The result of a comparison: a table for people, and JSON that `bench.picture` can draw."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table

from bench.figure import Figure


@dataclass(slots=True)
class Row:
    """One side and its counted rounds; without any it could not be measured."""

    label: str
    note: str
    count: int
    """Messages a round."""
    ours: bool = False
    figures: list[Figure] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        return [each.per_second for each in self.figures]

    def ratios(self, ours: "Row") -> list[float]:
        """Ours to theirs, round by round: what disturbs a round disturbs both."""
        return [a / b for a, b in zip(ours.rates, self.rates, strict=True)] if self.figures else []


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
    }


def table(rows: Sequence[Row], *, title: str, caption: str) -> Table:
    """For the terminal."""
    ours = next(row for row in rows if row.ours)
    drawn = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("", no_wrap=True)
    for heading in ("median", "least…most", "CPU µs", "Dispatcher ÷ it"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        name = f"{row.label}\n{row.note}"
        if not row.figures:
            drawn.add_row(name, "", "not installed")
            continue
        rates, ratio = spread(row.rates), spread(row.ratios(ours))
        drawn.add_row(
            name,
            f"{rates['median']:,.0f}",
            f"{rates['least']:,.0f}…{rates['most']:,.0f}",
            f"{statistics.median(each.cpu_microseconds for each in row.figures):,.0f}",
            "" if row.ours else f"{ratio['median']:.3g} ({ratio['least']:.3g}…{ratio['most']:.3g})",
            style="bold" if row.ours else None,
        )
    return drawn


def result(about: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """For machines, fastest first; `bench.picture` says what the keys of a picture are."""
    ours = next(row for row in rows if row.ours)
    ordered = sorted(rows, key=lambda row: -statistics.median(row.rates) if row.figures else 0)
    return {
        **about,
        "rows": [
            {
                "label": row.label,
                "note": row.note,
                "ours": row.ours,
                "values": [spread(row.rates)] if row.figures else [],
                "messages_a_round": row.count,
                "rates": [round(rate, 1) for rate in row.rates],
                "cpu_microseconds": [round(each.cpu_microseconds, 1) for each in row.figures],
                "dispatcher_ratio": spread(row.ratios(ours)) if row.figures else None,
            }
            for row in ordered
        ],
    }
