"""How late the lines of one load were: quantiles over rounds, and a histogram. Pure."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "most": 1.0}
BINS_PER_DECADE = 10
LEAST_MS = 0.1
"""What is less falls into the first bin."""


@dataclass(slots=True)
class Late:
    """One load: what was promised for it, and by how many milliseconds its lines were late in each round."""

    name: str
    marks: dict[str, float]
    """The most milliseconds that each of these quantiles may have."""
    rounds: list[list[float]] = field(default_factory=list)
    said: list[list[float]] = field(default_factory=list)
    """The same as the lines themselves say it: from the due time to right before the write."""

    def at(self, name: str) -> float:
        """One of QUANTILES in milliseconds: the median of the rounds."""
        return _median_of(self.rounds, QUANTILES[name])

    def said_at(self, name: str) -> float:
        """The same of what the lines say."""
        return _median_of(self.said, QUANTILES[name])

    @property
    def least(self) -> float:
        """By how little the earliest line of all rounds was late; negative if it was early."""
        return min(min(late) for late in self.rounds)

    @property
    def count(self) -> int:
        """Lines of all rounds."""
        return sum(len(late) for late in self.rounds)

    @property
    def holds(self) -> bool:
        """Whether every mark is kept."""
        return all(self.at(name) <= most for name, most in self.marks.items())

    def described(self) -> dict[str, Any]:
        """The row of a picture of kind `histogram`."""
        return {
            "label": self.name,
            "note": ", ".join(f"{name} {_short(self.at(name))} ms" for name in ("median", "p99", "most")),
            "ours": True,
            "bins": histogram(late for each in self.rounds for late in each),
            "marks": self.marks,
        }


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least of these values that this share of them does not exceed."""
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def histogram(values: Iterable[float]) -> list[list[float]]:
    """`[from, to, share of all]` for each bin that is not empty; bins are equally wide on a logarithmic axis."""
    counted = Counter(
        math.floor(math.log10(max(value, LEAST_MS) / LEAST_MS) * BINS_PER_DECADE) for value in values
    )
    total = counted.total()
    edge = [LEAST_MS * 10 ** (number / BINS_PER_DECADE) for number in range(max(counted) + 2)]
    return [[edge[number], edge[number + 1], counted[number] / total] for number in sorted(counted)]


def _median_of(rounds: Sequence[Sequence[float]], share: float) -> float:
    return statistics.median(quantile(sorted(late), share) for late in rounds)


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"
