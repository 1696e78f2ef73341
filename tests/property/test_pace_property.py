"""Whatever happens to a schedule, in whatever order: its ticks were due, lie on the grid, and keep their distance."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatcher.delivery import pace
from dispatcher.delivery.pace import Pace, Probing, Schedule, Tick
from dispatcher.kernel.live import Origin

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INTERVALS = st.one_of(
    st.sampled_from([timedelta(seconds=0.1), timedelta(seconds=120), timedelta(days=1)]),
    st.integers(100_000, 10_000_000).map(lambda n: n * MICROSECOND),
)
PROBE_DELAYS = st.integers(100_000, 100_000_000).map(lambda n: n * MICROSECOND)
TARGETS = st.sampled_from(["here", "there"])
PACES = st.builds(
    Pace,
    rate_limit=st.integers(1, 5),
    interval=INTERVALS,
    queue_capacity=st.integers(1, 6),
    auto_sending=st.booleans(),
    blocked=st.none() | st.just("no webhook_url"),
    probing=st.none() | st.builds(Probing, TARGETS, PROBE_DELAYS, PROBE_DELAYS),
)


class ScheduleMachine(RuleBasedStateMachine):
    """One row, as replicas change it; the model beside it knows only what is promised."""

    def __init__(self) -> None:
        super().__init__()
        probing = Probing("here", timedelta(seconds=1), timedelta(seconds=5))
        first = Pace(2, timedelta(seconds=1), 3, auto_sending=True, blocked=None, probing=probing)
        self.now = T0
        self.revision = 10
        self.schedule = Schedule(
            lane="webhook",
            running=True,
            pace=first,
            anchor_at=T0,
            anchor_no=0,
            next_no=0,
            last_at=None,
            dropped_ticks=0,
            origin=Origin(1, self.revision),
            version=0,
        )
        self.claimed: list[Tick] = []
        self.earliest: datetime | None = None
        """Before this no tick may be due: the last one and an interval; None before the first."""
        self.probes = 0
        """The probe that comes next; 0 while the target answers."""
        self.probe_at = T0
        """In a pause: when that is due, if an interval after the last tick is not later."""
        self.fresh = False
        """Whether nothing has happened to the schedule since the last tick was claimed."""
        self.news_no = 0
        """What ticks below this number saw is from before a pause, or the end of one."""

    def delay(self) -> timedelta:
        probing = self.schedule.pace.probing
        if not self.probes:
            return timedelta(0)
        assert probing is not None, "a lane that never pauses is not paused"
        doublings = min(self.probes - 1, 30)  # every cap is reached by then; more is too long for a timedelta
        return min(probing.cap, probing.base * (1 << doublings))

    def limit(self) -> timedelta:
        return max(self.schedule.pace.interval, self.delay())

    def wait_for_probe(self, number: int) -> None:
        self.probes = number
        self.probe_at = self.now + self.delay()

    def pause_ends(self) -> None:
        self.probes = 0
        self.news_no = self.schedule.next_no

    @rule(share=st.floats(0, 12), exact=st.booleans())
    def time_passes(self, share: float, exact: bool) -> None:  # noqa: FBT001 - drawn by name
        """Some intervals, or to the very moment of the next tick."""
        if exact:
            self.now = max(self.now, self.schedule.next_at)
        else:
            self.now += self.schedule.pace.interval * share

    @rule(seconds=st.floats(0.001, 10_000))
    def clock_is_set_back(self, seconds: float) -> None:
        """The ticker notices when the next tick is further away than it can be."""
        self.now -= timedelta(seconds=seconds)
        before = self.schedule
        self.schedule = pace.rewound(before, self.now)
        assert (self.schedule is before) == (before.next_at - self.now <= self.limit())
        if self.schedule is not before:
            self.fresh = False
            self.earliest = self.now + before.pace.interval
            self.wait_for_probe(self.probes)
            assert self.schedule.next_at == self.now + self.limit()
        assert self.schedule.next_at - self.now <= self.limit()

    @rule()
    def claim(self) -> None:
        before = self.schedule
        result = pace.claim_tick(before, self.now)
        due = before.running and before.pace.blocked is None and self.now >= before.next_at
        assert (result is not None) == due
        if result is None:
            return
        after, tick = result
        self._check(before, tick)
        assert after.next_no == tick.no + 1
        assert after.dropped_ticks == before.dropped_ticks + tick.dropped
        assert after.version == before.version + 1
        self.schedule = after
        self.claimed.append(tick)
        self.earliest = tick.due_at + before.pace.interval
        self.fresh = True
        if tick.probe:
            self.wait_for_probe(self.probes + 1)
            assert after.next_at == max(self.probe_at, self.earliest), "put off before anybody can die in it"
        else:
            assert after.anchor_at == before.anchor_at, "a claim never moves the grid"

    def _check(self, before: Schedule, tick: Tick) -> None:
        interval, capacity = before.pace.interval, before.pace.queue_capacity
        assert tick.due_at <= self.now, "it was due"
        assert (tick.due_at - before.anchor_at) % interval == timedelta(0), "on the grid, to the microsecond"
        assert (tick.due_at - before.anchor_at) // interval == tick.no - before.anchor_no
        if self.earliest is not None:
            last_at = self.earliest
            assert tick.due_at >= last_at, "an interval after the last one"
        number = self.claimed[-1].no if self.claimed else -1
        assert tick.no == number + 1 + tick.dropped, "numbers rise; each left out is counted"
        assert 1 <= tick.waiting <= capacity
        assert tick.waiting == capacity or tick.dropped == 0, "none is dropped while there is room"
        assert tick.probe == (self.probes > 0)
        if tick.probe:
            assert tick.due_at >= self.probe_at, "no probe comes sooner than its delay"
            assert (tick.rate_limit, tick.waiting, tick.dropped) == (1, 1, 0)
        else:
            assert tick.rate_limit == before.pace.rate_limit
            assert self.now - tick.due_at < interval * tick.waiting, (
                "none that is made up is older than the capacity"
            )

    @precondition(lambda self: self.fresh)
    @rule(where=TARGETS)
    def the_target_fails_in_the_last_tick(self, where: str) -> None:
        before, tick = self.schedule, self.claimed[-1]
        self.schedule = pace.trip(before, tick, where, self.now)
        probing = before.pace.probing
        if self.probes or probing is None or probing.target != where:
            assert self.schedule is before
        else:
            self._tripped()

    @precondition(lambda self: self.fresh and self.schedule.pace.probing)
    @rule(probes=st.integers(1, 5))
    def the_target_is_away_for_some_probes(self, probes: int) -> None:
        assert self.schedule.pace.probing is not None
        self.the_target_fails_in_the_last_tick(self.schedule.pace.probing.target)
        for _ in range(probes):
            self.now = max(self.now, self.schedule.next_at)
            self.claim()

    @precondition(lambda self: self.claimed)
    @rule(where=TARGETS, data=st.data())
    def it_is_learnt_late_that_the_target_failed(self, where: str, data: st.DataObject) -> None:
        before, tick = self.schedule, data.draw(st.sampled_from(self.claimed))
        self.schedule = pace.trip(before, tick, where, self.now)
        if self.schedule is not before:
            assert tick.no >= self.news_no, "no pause for what is old news"
            assert before.active
            self._tripped()

    def _tripped(self) -> None:
        assert self.probes == 0, "a pause does not begin anew"
        assert self.claimed
        self.fresh = False
        self.news_no = self.schedule.next_no
        self.wait_for_probe(1)
        assert self.earliest is not None
        assert self.schedule.next_at == max(self.probe_at, self.earliest)

    @rule(where=TARGETS)
    def the_target_answers_a_probe(self, where: str) -> None:
        before, self.schedule = self.schedule, pace.recover(self.schedule, where, self.now)
        probing = before.pace.probing
        if self.probes and probing is not None and probing.target == where:
            self.fresh = False
            self.pause_ends()
            assert self.earliest is None or self.schedule.next_at == max(self.now, self.earliest)
        else:
            assert self.schedule is before

    @rule()
    def resume(self) -> None:
        before, self.schedule = self.schedule, pace.resume(self.schedule, self.now)
        self.fresh = self.fresh and self.schedule is before
        assert self.schedule.probes == self.probes, "another reason for not sending ends no pause"

    @rule()
    def everything_due_is_claimed(self) -> None:
        count, capacity = len(self.claimed), self.schedule.pace.queue_capacity
        while pace.ticks_waiting(self.schedule, self.now):
            self.claim()
        assert len(self.claimed) - count <= capacity

    @rule()
    def start(self) -> None:
        before, self.schedule = self.schedule, pace.start(self.schedule, self.now)
        assert self.schedule.running
        if not before.running:
            self.fresh = False
            self.pause_ends()
            assert self.schedule.next_at >= self.now, "what fell into a stop is not made up"

    @rule()
    def stop(self) -> None:
        self.schedule, self.fresh = pace.stop(self.schedule), False
        assert pace.claim_tick(self.schedule, self.now + timedelta(days=3)) is None

    @rule(wanted=PACES, lag=st.integers(-1, 1))
    def retune(self, wanted: Pace, lag: int) -> None:
        told = Origin(1, self.revision + lag)
        before, self.schedule = self.schedule, pace.retune(self.schedule, wanted, told, self.now)
        if lag < 0:
            assert self.schedule is before
            return
        self.revision = told.revision
        if lag == 0 and before.pace.blocked is None and wanted.blocked is not None:
            # one that cannot send does not block those that can, and says nothing of their target
            wanted = replace(wanted, blocked=None, probing=before.pace.probing)
        self._retuned(before, wanted)
        assert self.schedule.origin == told

    @rule(wanted=PACES, lead=st.integers(0, 1000))
    def retune_from_an_etcd_that_has_begun_anew_since(self, wanted: Pace, lead: int) -> None:
        told = Origin(0, self.revision + lead)
        assert pace.retune(self.schedule, wanted, told, self.now) is self.schedule

    @rule(wanted=PACES)
    def retune_by_one_who_never_saw_etcd(self, wanted: Pace) -> None:
        assert pace.retune(self.schedule, wanted, None, self.now) is self.schedule

    @rule(can_send=st.booleans())
    def a_replica_restarts(self, can_send: bool) -> None:  # noqa: FBT001 - drawn by name
        """It tells what is in force already, or that it cannot send: a stop, the grid and the ticks missed stay."""
        ours = self.schedule.pace if can_send else replace(self.schedule.pace, blocked="no webhook_url")
        if self.schedule.pace.blocked is None or can_send:
            told = self.schedule.origin
            assert pace.retune(self.schedule, ours, told, self.now) is self.schedule

    @rule(change=st.booleans())
    def toggle_auto_sending(self, change: bool) -> None:  # noqa: FBT001 - drawn by name
        self.revision += 1
        before = self.schedule
        wanted = replace(before.pace, auto_sending=before.pace.auto_sending is not change)
        self.schedule = pace.retune(before, wanted, Origin(1, self.revision), self.now)
        self._retuned(before, wanted)

    def _retuned(self, before: Schedule, wanted: Pace) -> None:
        assert self.schedule.pace == wanted
        changed = wanted.auto_sending != before.pace.auto_sending
        assert self.schedule.running == (wanted.auto_sending if changed else before.running), "the last word"
        assert self.schedule.next_no == before.next_no
        if self.earliest is not None and wanted.interval != before.pace.interval:
            self.earliest += wanted.interval - before.pace.interval
        self.fresh = False
        unblocked = before.pace.blocked is not None and wanted.blocked is None
        started = changed and wanted.auto_sending and not before.running
        old, new = before.pace.probing, wanted.probing
        if self.probes and (unblocked or started or new is None or (old and old.target != new.target)):
            self.pause_ends()
        elif self.probes and (wanted.interval, new) != (before.pace.interval, old):
            self.wait_for_probe(self.probes)

    @precondition(lambda self: self.schedule.active)
    @rule()
    def the_next_tick_is_never_further_than_an_interval(self) -> None:
        assert self.schedule.next_at - self.now <= self.limit()
        assert self.schedule.furthest == self.limit()
        assert pace.rewound(self.schedule, self.now) is self.schedule, "no clock was set back"

    @invariant()
    def the_pause_is_as_it_should_be(self) -> None:
        assert self.schedule.probes == self.probes
        if self.probes:
            assert self.schedule.next_at >= self.probe_at
            assert pace.ticks_waiting(self.schedule, self.schedule.next_at + timedelta(days=9)) <= 1

    @invariant()
    def versions_and_numbers_only_rise(self) -> None:
        assert self.schedule.next_no == len(self.claimed) + self.schedule.dropped_ticks
        assert self.schedule.dropped_ticks == sum(tick.dropped for tick in self.claimed)
        assert self.schedule.next_no >= self.schedule.anchor_no


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
