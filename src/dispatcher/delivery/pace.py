"""The fixed-rate schedule as pure arithmetic: which tick is due, what a start, a stop or a new pace does to it.

Tick n is at `anchor_at + (n - anchor_no) * interval`, to the microsecond. Nothing here reads a clock: `now` is
Postgres's, so that it means the same to every replica.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dispatcher.kernel.live import Origin


@dataclass(frozen=True, slots=True)
class Pace:
    """What live config asks of a lane."""

    rate_limit: int
    interval: timedelta
    queue_capacity: int
    auto_sending: bool
    blocked: str | None
    """Why nothing can be sent at all (no webhook_url, say); None when it can."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The one row that all replicas share; `version` counts its changes."""

    lane: str
    running: bool
    pace: Pace
    anchor_at: datetime
    anchor_no: int
    next_no: int
    """Number of the next tick to claim."""
    last_at: datetime | None
    """When the tick claimed last was due."""
    dropped_ticks: int
    """Ticks given up so far because more than `queue_capacity` had been missed."""
    origin: Origin | None
    version: int

    @property
    def active(self) -> bool:
        """Whether ticks are claimed at all."""
        return self.running and self.pace.blocked is None

    @property
    def next_at(self) -> datetime:
        """When the next tick is due."""
        return self.anchor_at + (self.next_no - self.anchor_no) * self.pace.interval


@dataclass(frozen=True, slots=True)
class Tick:
    """One firing of a lane: the right to claim `rate_limit` messages."""

    lane: str
    no: int
    due_at: datetime
    rate_limit: int
    interval: timedelta
    waiting: int
    """How many ticks were due when it was claimed, itself included."""
    dropped: int
    """How many missed ticks were given up just before it."""


def ticks_waiting(schedule: Schedule, now: datetime) -> int:
    """How many ticks are due and not claimed."""
    if not schedule.active or now < schedule.next_at:
        return 0
    return (now - schedule.next_at) // schedule.pace.interval + 1


def claim_tick(schedule: Schedule, now: datetime) -> tuple[Schedule, Tick] | None:
    """The schedule after its next due tick was claimed, and the tick; None when none is due.

    Of the missed ticks the latest `queue_capacity` are made up, one at a time; older ones are dropped.
    """
    waiting = ticks_waiting(schedule, now)
    if waiting == 0:
        return None
    dropped = max(0, waiting - schedule.pace.queue_capacity)
    no = schedule.next_no + dropped
    due_at = schedule.anchor_at + (no - schedule.anchor_no) * schedule.pace.interval
    after = replace(
        schedule,
        next_no=no + 1,
        last_at=due_at,
        dropped_ticks=schedule.dropped_ticks + dropped,
        version=schedule.version + 1,
    )
    pace = schedule.pace
    return after, Tick(schedule.lane, no, due_at, pace.rate_limit, pace.interval, waiting - dropped, dropped)


def start(schedule: Schedule, now: datetime) -> Schedule:
    """Run: the next tick is due now, but never sooner than one interval after the last one."""
    if schedule.running:
        return schedule
    return _resumed(replace(schedule, running=True), now)


def stop(schedule: Schedule) -> Schedule:
    """Claim nothing any more. Ticks that fall into the stop are not missed, they do not exist."""
    if not schedule.running:
        return schedule
    return replace(schedule, running=False, version=schedule.version + 1)


def resume(schedule: Schedule, now: datetime) -> Schedule:
    """Let go of ticks that were missed because nothing could be sent, as after a start."""
    return _resumed(schedule, now) if schedule.active else schedule


def retune(schedule: Schedule, pace: Pace, origin: Origin | None, now: datetime) -> Schedule:
    """Take over a new pace, unless the schedule already follows a later revision of etcd.

    A new interval moves the next tick to last tick + new interval, or to now if that has passed; missed ticks of
    the old interval are not made up at the new one. A lane that was blocked resumes as after a start. A change of `auto_sending` starts or stops; the last word wins.
    """
    if schedule.origin == origin and schedule.pace.blocked is None:
        # Another replica can send by the same etcd: this one, which cannot, must not block it.
        pace = replace(pace, blocked=None)
    if not _is_news(schedule.origin, origin) or (schedule.pace == pace and schedule.origin == origin):
        return schedule
    after = replace(schedule, pace=pace, origin=origin, version=schedule.version + 1)
    unblocked = schedule.pace.blocked is not None and pace.blocked is None
    if pace.interval != schedule.pace.interval or unblocked:
        after = replace(_resumed(after, now), version=after.version)
    if pace.auto_sending != schedule.pace.auto_sending:
        after = replace(start(after, now) if pace.auto_sending else stop(after), version=after.version)
    return after


def rewound(schedule: Schedule, now: datetime) -> Schedule:
    """Undo a wall clock that was set back: no tick is ever further away than one interval."""
    if schedule.next_at - now <= schedule.pace.interval:
        return schedule
    return _resumed(replace(schedule, last_at=now), now)


def _resumed(schedule: Schedule, now: datetime) -> Schedule:
    soonest = now if schedule.last_at is None else max(now, schedule.last_at + schedule.pace.interval)
    return replace(schedule, anchor_at=soonest, anchor_no=schedule.next_no, version=schedule.version + 1)


def _is_news(known: Origin | None, told: Origin | None) -> bool:
    if known is None:
        return True
    if told is None:
        return False  # a process that has never seen etcd must not overrule one that has
    return told >= known
