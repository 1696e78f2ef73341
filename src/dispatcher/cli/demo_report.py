"""The demo's last page: what its ticks and arrivals add up to, and whether that is what was promised."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from rich.table import Table

from dispatcher.cli.demo_watch import Grid


@dataclass(frozen=True, slots=True)
class Report:
    """The figures."""

    sent: int
    """Messages that the database calls sent."""
    arrived: int
    """Different messages that reached the receiver."""
    duplicates: int
    """POSTs of a message that had arrived before."""
    most_over_rate: int
    """The most messages of a tick, less its rate: never above 0."""
    deviation_us: float
    """The largest distance of a tick's time from its grid."""
    late_ms: tuple[float, float]
    """How long a tick waited for a replica: the median, and the longest."""
    ticks: dict[str, int]
    """By replica."""

    def problem(self) -> str | None:
        """What did not hold, or None."""
        if self.duplicates:
            return f"{self.duplicates} messages arrived twice"
        if self.sent != self.arrived:
            return f"{self.sent} messages are marked as sent, but {self.arrived} arrived"
        if self.most_over_rate > 0:
            return f"a tick claimed {self.most_over_rate} messages more than its rate"
        if self.deviation_us:
            return f"a tick was due {self.deviation_us:g} µs off its grid"
        return None

    def table(self) -> Table:
        """For people."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_row("  messages sent", f"{self.sent}")
        table.add_row("  arrived at the receiver", f"{self.arrived}")
        table.add_row("  duplicates", f"{self.duplicates}")
        table.add_row(
            "  ticks", ", ".join(f"{count} by {name}" for name, count in sorted(self.ticks.items()))
        )
        table.add_row("  ticks above their rate", "0" if self.most_over_rate <= 0 else "some")
        table.add_row("  largest deviation from the grid", f"{self.deviation_us:g} µs")
        table.add_row("  lateness of a claim, median", f"{self.late_ms[0]:.1f} ms")
        table.add_row("  lateness of a claim, largest", f"{self.late_ms[1]:.1f} ms")
        return table


def report(
    *,
    sent: int,
    arrivals: Sequence[dict[str, Any]],
    ticks: Sequence[dict[str, Any]],
    grids: Sequence[Grid],
    letter: Callable[[str], str],
) -> Report:
    """Add it all up."""
    late = [tick["late_ms"] for tick in ticks] or [0.0]
    posts = Counter(arrival["webhook_id"] for arrival in arrivals)
    return Report(
        sent=sent,
        arrived=len(posts),
        duplicates=posts.total() - len(posts),
        most_over_rate=max((tick["claimed"] - tick["rate_limit"] for tick in ticks), default=0),
        deviation_us=max((_deviation(tick, grids) for tick in ticks), default=0.0),
        late_ms=(median(late), max(late)),
        ticks=dict(Counter(letter(tick["replica"]) for tick in ticks)),
    )


def _deviation(tick: dict[str, Any], grids: Sequence[Grid]) -> float:
    """Microseconds between the tick's time and the grid it belongs to; 0 before the first grid seen."""
    grid = next((grid for grid in reversed(grids) if grid.anchor_no <= tick["no"]), None)
    if grid is None:
        return 0.0
    due = grid.anchor_at + (tick["no"] - grid.anchor_no) * grid.interval
    off: timedelta = datetime.fromisoformat(tick["due_at"]) - due
    return abs(off.total_seconds()) * 1e6
