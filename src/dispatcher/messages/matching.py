"""Matching: messages of one status by lane, recipient and time, in the order that an index has them in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dispatcher.messages.state import Priority, State

Position = tuple[datetime, int]
"""A place in a status' order: the time it is ordered by, and the id."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages of a status. `since` is included, `until` is not; both mean the time the status is ordered by."""

    lane: str = "webhook"
    recipient: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Where the messages of a status are, and the time that they are ordered by there."""

    table: str
    time: str
    newest_first: bool


_HELD = Part("messages_held", "coalesce(held_at, created_at)", newest_first=True)
PARTS = {
    State.SENT: Part("messages_sent", "sent_at", newest_first=True),
    State.PENDING: Part("messages_pending", "deliver_at", newest_first=False),
    # never more than what is in flight: sorted in memory
    State.SENDING: Part("messages_sending", "deliver_at", newest_first=False),
    State.FAILED: _HELD,
    State.UNCERTAIN: _HELD,
    State.CANCELLED: _HELD,
}


class Where:
    """A WHERE clause in the making: conditions are texts of ours, values are parameters."""

    def __init__(self) -> None:
        self.arguments: list[object] = []
        self._conditions: list[str] = []

    def __str__(self) -> str:
        return " AND ".join(self._conditions)

    def value(self, value: object) -> str:
        """The parameter that stands for this value."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def must(self, condition: str) -> None:
        """Add a condition."""
        self._conditions.append(condition)


def matching(state: State, wanted: Filter, *, beyond: Position | None, newest_first: bool) -> Where:
    """The messages of this status that are wanted, after `beyond` in this direction.

    Of two bounds on the same side only the closer one is said: Postgres would begin its search at either.
    """
    part, where = PARTS[state], Where()
    where.must(f"lane = {where.value(wanted.lane)}")
    if part is _HELD:
        where.must(f"state = '{state}'")
    if wanted.recipient is not None:
        where.must(f"recipient_phone = {where.value(wanted.recipient)}")
    since, until = wanted.since, wanted.until
    if beyond is not None and newest_first and (until is None or beyond[0] < until):
        until = None
        at, id_ = where.value(beyond[0]), where.value(beyond[1])
        where.must(f"({part.time}, id) < ({at}, {id_})")
        if state is State.SENT:  # said again, for the choice of days
            where.must(f"{part.time} <= {at}")
    if beyond is not None and not newest_first and (since is None or beyond[0] >= since):
        since = None
        where.must(f"({part.time}, id) > ({where.value(beyond[0])}, {where.value(beyond[1])})")
    if since is not None:
        where.must(f"{part.time} >= {where.value(since)}")
    if until is not None:
        where.must(f"{part.time} < {where.value(until)}")
    return where


def searches(state: State, wanted: Filter) -> Sequence[str]:
    """The conditions to search by one after the other, each of which one index answers in order.

    What is pending is kept by priority; what is pending for one recipient is not.
    """
    if state is State.PENDING and wanted.recipient is None:
        return [f"priority = {priority:d}" for priority in Priority]
    return ["true"]
