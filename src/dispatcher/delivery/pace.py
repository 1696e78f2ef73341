"""The fixed-rate schedule as pure arithmetic: which tick is due, what a start, a stop or a new pace does to it.

Tick n is at `anchor_at + (n - anchor_no) * interval`, to the microsecond. Nothing here reads a clock: `now` is
Postgres's, so that it means the same to every replica.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dispatcher.kernel import backoff
from dispatcher.kernel.live import Origin


@dataclass(frozen=True, slots=True)
class Probing:
    """How a lane that paused because its target fails finds out that it is back."""

    target: str
    """Stands for where messages go, without saying it. Another one ends the pause."""
    base: timedelta
    """From the pause to the first probe; doubles with each."""
    cap: timedelta


@dataclass(frozen=True, slots=True)
class Pace:
    """What live config asks of a lane."""

    rate_limit: int
    interval: timedelta
    queue_capacity: int
    auto_sending: bool
    blocked: str | None
    """Why nothing can be sent at all (no webhook_url, say); None when it can."""
    probing: Probing | None = None
    """None: the lane never pauses by itself."""


def each_at_its_time(*, auto_sending: bool, blocked: str | None = None) -> Pace:
    """The pace of a lane without ticks: each message is due at its own time. It starts and stops as others do."""
    return Pace(0, timedelta(0), 0, auto_sending, blocked)


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
    probes: int = 0
    """0 while the target answers. Else the lane is paused, and the next tick is this probe, from 1."""

    @property
    def active(self) -> bool:
        """Whether ticks are claimed at all."""
        return self.running and self.pace.blocked is None

    @property
    def next_at(self) -> datetime:
        """When the next tick is due."""
        return self.anchor_at + (self.next_no - self.anchor_no) * self.pace.interval

    @property
    def probe_delay(self) -> timedelta:
        """How long the next probe waits; nothing while the target answers."""
        probing = self.pace.probing
        if self.probes == 0 or probing is None:
            return timedelta(0)
        base, cap = probing.base.total_seconds(), probing.cap.total_seconds()
        return timedelta(seconds=backoff.delay(self.probes, base=base, cap=cap, jitter=lambda: 0.0))

    @property
    def furthest(self) -> timedelta:
        """The most that the next tick is ever away."""
        return max(self.pace.interval, self.probe_delay)


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
    grid_no: int = 0
    """Number of the first tick of its grid: another one means that the lane has resumed in between."""
    probe: bool = False
    """Claimed in a pause, to find out whether the target answers again."""


def ticks_waiting(schedule: Schedule, now: datetime) -> int:
    """How many ticks are due and not claimed."""
    if not schedule.active or not schedule.pace.interval or now < schedule.next_at:
        return 0
    if schedule.probes:
        return 1  # what falls into a pause is not missed, it does not exist
    return (now - schedule.next_at) // schedule.pace.interval + 1


def claim_tick(schedule: Schedule, now: datetime) -> tuple[Schedule, Tick] | None:
    """The schedule after its next due tick was claimed, and the tick; None when none is due.

    Of the missed ticks the latest `queue_capacity` are made up, one at a time; older ones are dropped. In a pause
    the tick is a probe, for one message, and the next one is put off at once: whoever claims it may die in it.
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
    probe = schedule.probes > 0
    tick = Tick(
        lane=schedule.lane,
        no=no,
        due_at=due_at,
        rate_limit=1 if probe else schedule.pace.rate_limit,
        interval=schedule.pace.interval,
        waiting=waiting - dropped,
        dropped=dropped,
        grid_no=schedule.anchor_no,
        probe=probe,
    )
    if probe:
        after = replace(_paused(after, now, probes=schedule.probes + 1), version=after.version)
    return after, tick


def start(schedule: Schedule, now: datetime) -> Schedule:
    """Run: the next tick is due now, but never sooner than one interval after the last one. Ends a pause."""
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
    return _resumed(schedule, now) if schedule.active and not schedule.probes else schedule


def trip(schedule: Schedule, tick: Tick, target: str, now: datetime) -> Schedule:
    """Pause: too many attempts in a row failed at the target, the last of them in this tick.

    Changes nothing when that is old news: the lane has paused, resumed, stopped or got another target since.
    """
    probing = schedule.pace.probing
    on_this_grid = tick.no >= schedule.anchor_no  # a pause begins a new one, and so does each of its probes
    if not schedule.active or not on_this_grid or probing is None or probing.target != target:
        return schedule
    return _paused(schedule, now, probes=1)


def recover(schedule: Schedule, target: str, now: datetime) -> Schedule:
    """End the pause: this target has answered a probe. The next tick is due as after a start."""
    probing = schedule.pace.probing
    if not schedule.probes or probing is None or probing.target != target:
        return schedule
    return _resumed(schedule, now)


def retune(schedule: Schedule, pace: Pace, origin: Origin | None, now: datetime) -> Schedule:
    """Take over a new pace, unless the schedule already follows a later revision of etcd.

    A new interval moves the next tick to last tick + new interval, or to now if that has passed; missed ticks of
    the old interval are not made up at the new one. A lane that was blocked resumes as after a start, and so does
    one that is paused when it gets another target. A change of `auto_sending` starts or stops; the last word wins.
    """
    if schedule.origin == origin and schedule.pace.blocked is None and pace.blocked is not None:
        # Another replica can send by the same etcd: this one, which cannot, must not block it.
        pace = replace(pace, blocked=None, probing=schedule.pace.probing)
    if not _is_news(schedule.origin, origin) or (schedule.pace == pace and schedule.origin == origin):
        return schedule
    after = replace(schedule, pace=pace, origin=origin, version=schedule.version + 1)
    unblocked = schedule.pace.blocked is not None and pace.blocked is None
    if unblocked or (schedule.probes and _target(pace) != _target(schedule.pace)):
        after = replace(_resumed(after, now), version=after.version)
    elif pace.interval != schedule.pace.interval or (
        schedule.probes and pace.probing != schedule.pace.probing
    ):
        after = replace(_anchored(after, now), version=after.version)
    if pace.auto_sending != schedule.pace.auto_sending:
        after = replace(start(after, now) if pace.auto_sending else stop(after), version=after.version)
    return after


def rewound(schedule: Schedule, now: datetime) -> Schedule:
    """Undo a wall clock that was set back: no tick is ever further away than an interval, or a probe's delay."""
    if schedule.next_at - now <= schedule.furthest:
        return schedule
    return _anchored(replace(schedule, last_at=now), now)


def _resumed(schedule: Schedule, now: datetime) -> Schedule:
    return _anchored(replace(schedule, probes=0), now)


def _paused(schedule: Schedule, now: datetime, *, probes: int) -> Schedule:
    return _anchored(replace(schedule, probes=probes), now)


def _anchored(schedule: Schedule, now: datetime) -> Schedule:
    """A new grid from the next tick on: due now, or after a probe's delay, and an interval after the last one."""
    soonest = now + schedule.probe_delay
    if schedule.last_at is not None:
        soonest = max(soonest, schedule.last_at + schedule.pace.interval)
    return replace(schedule, anchor_at=soonest, anchor_no=schedule.next_no, version=schedule.version + 1)


def _target(pace: Pace) -> str | None:
    return None if pace.probing is None else pace.probing.target


def _is_news(known: Origin | None, told: Origin | None) -> bool:
    if known is None:
        return True
    if told is None:
        return False  # a process that has never seen etcd must not overrule one that has
    return told >= known
