"""The fixed-rate schedule: which tick is due, and what a start, a stop or a new pace does to it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dispatcher.delivery import pace
from dispatcher.delivery.pace import Pace, Schedule
from dispatcher.kernel.live import Origin

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
PACE = Pace(rate_limit=2, interval=timedelta(seconds=120), queue_capacity=3, auto_sending=True, blocked=None)
FIRST = Schedule(
    lane="webhook",
    running=True,
    pace=PACE,
    anchor_at=T0,
    anchor_no=0,
    next_no=0,
    last_at=None,
    dropped_ticks=0,
    origin=Origin(1, 10),
    version=0,
)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def claimed(schedule: Schedule, seconds: float) -> Schedule:
    result = pace.claim_tick(schedule, at(seconds))
    assert result is not None
    return result[0]


def retuned(
    schedule: Schedule, seconds: float, *, origin: Origin | None = None, **change: object
) -> Schedule:
    wanted = replace(schedule.pace, **change)  # type: ignore[arg-type]  # keyword by keyword
    return pace.retune(schedule, wanted, origin or Origin(1, 11), at(seconds))


def test_the_first_tick_is_due_at_the_anchor() -> None:
    assert pace.claim_tick(FIRST, at(-0.000001)) is None
    result = pace.claim_tick(FIRST, T0)
    assert result is not None
    after, tick = result
    assert (tick.no, tick.due_at, tick.rate_limit, tick.waiting, tick.dropped) == (0, T0, 2, 1, 0)
    assert (after.next_no, after.last_at, after.version) == (1, T0, 1)
    assert after.next_at == at(120)


def test_late_claims_do_not_shift_the_grid() -> None:
    schedule = FIRST
    for seconds in (7, 121.5, 359.9, 365):
        schedule = claimed(schedule, seconds)
    assert schedule.next_at == at(480)


def test_missed_ticks_are_made_up_and_the_oldest_dropped() -> None:
    schedule, numbers = claimed(FIRST, 0), []
    while (result := pace.claim_tick(schedule, at(1200))) is not None:
        schedule, tick = result
        numbers.append((tick.no, tick.due_at, tick.waiting, tick.dropped))
    assert numbers == [(8, at(960), 3, 7), (9, at(1080), 2, 0), (10, at(1200), 1, 0)]
    assert schedule.dropped_ticks == 7
    assert schedule.next_at == at(1320)


def test_nothing_waits_while_stopped_or_blocked() -> None:
    for idle in (replace(FIRST, running=False), replace(FIRST, pace=replace(PACE, blocked="no webhook_url"))):
        assert not idle.active
        assert pace.ticks_waiting(idle, at(10_000)) == 0
        assert pace.claim_tick(idle, at(10_000)) is None


def test_start_and_stop_are_idempotent() -> None:
    assert pace.start(FIRST, at(50)) is FIRST
    stopped = pace.stop(FIRST)
    assert not stopped.running
    assert stopped.version == FIRST.version + 1
    assert pace.stop(stopped) is stopped


def test_a_start_fires_now_but_never_within_an_interval_of_the_last_tick() -> None:
    stopped = pace.stop(claimed(FIRST, 0))
    assert pace.start(stopped, at(30)).next_at == at(120)
    late = pace.start(stopped, at(1000))
    assert late.next_at == at(1000)
    assert pace.ticks_waiting(late, at(1000)) == 1  # what fell into the stop was not missed
    assert pace.start(pace.stop(FIRST), at(5)).next_at == at(5)


def test_a_new_interval_counts_from_the_last_tick() -> None:
    schedule = claimed(FIRST, 0)
    assert retuned(schedule, 10, interval=timedelta(seconds=60)).next_at == at(60)
    assert retuned(schedule, 90, interval=timedelta(seconds=60)).next_at == at(90)
    assert retuned(schedule, 90, interval=timedelta(seconds=600)).next_at == at(600)


def test_a_new_rate_leaves_the_grid_alone() -> None:
    schedule = claimed(FIRST, 0)
    after = retuned(schedule, 50, rate_limit=7, queue_capacity=1)
    assert (after.next_at, after.anchor_at, after.pace.rate_limit) == (schedule.next_at, T0, 7)


def test_an_earlier_revision_or_epoch_is_ignored() -> None:
    assert retuned(FIRST, 0, origin=Origin(1, 9), rate_limit=7) is FIRST
    assert retuned(FIRST, 0, origin=Origin(0, 99), rate_limit=7) is FIRST
    assert retuned(FIRST, 0, origin=Origin(1, 10), rate_limit=7).pace.rate_limit == 7
    assert retuned(FIRST, 0, origin=Origin(2, 1), rate_limit=7).pace.rate_limit == 7


def test_a_process_that_never_saw_etcd_does_not_overrule() -> None:
    other = replace(PACE, rate_limit=7)
    assert pace.retune(FIRST, other, None, T0) is FIRST
    unseen = replace(FIRST, origin=None)
    assert pace.retune(unseen, other, None, T0).pace.rate_limit == 7
    assert pace.retune(unseen, PACE, None, T0) is unseen


def test_the_same_pace_at_a_later_revision_is_remembered_and_changes_nothing_else() -> None:
    after = retuned(FIRST, 70)
    assert after == replace(FIRST, origin=Origin(1, 11), version=FIRST.version + 1)


def test_the_last_word_on_sending_wins_in_both_directions() -> None:
    stopped = pace.stop(FIRST)
    assert not retuned(stopped, 5).running, "auto_sending was not changed, so /stop stays the last word"
    assert not retuned(stopped, 5, rate_limit=9).running
    off = retuned(FIRST, 5, auto_sending=False)
    assert not off.running
    by_hand = pace.start(off, at(6))
    assert retuned(by_hand, 7, origin=Origin(1, 12), rate_limit=9).running, "/start came after auto_sending"
    on = retuned(off, 200, origin=Origin(1, 12), auto_sending=True)
    assert on.running
    assert on.next_at == at(200)


def test_a_lane_that_was_blocked_resumes_as_after_a_start() -> None:
    schedule = retuned(claimed(FIRST, 0), 1, blocked="no webhook_url")
    free = retuned(schedule, 1000, origin=Origin(1, 12), blocked=None)
    assert free.next_at == at(1000)
    assert pace.ticks_waiting(free, at(1000)) == 1
    assert retuned(schedule, 10, origin=Origin(1, 12), blocked=None).next_at == at(120)


def test_one_change_is_one_version() -> None:
    after = retuned(
        pace.stop(claimed(FIRST, 0)), 500, interval=timedelta(seconds=1), auto_sending=False, blocked="x"
    )
    again = retuned(after, 600, origin=Origin(1, 12), auto_sending=True, blocked=None)
    assert again.version == after.version + 1


def test_a_clock_set_back_never_delays_by_more_than_an_interval() -> None:
    schedule = claimed(FIRST, 0)
    assert pace.rewound(schedule, at(0)) is schedule
    assert pace.rewound(schedule, at(60)) is schedule
    back = pace.rewound(schedule, at(-3600))
    assert back.next_at == at(-3600 + 120)
    assert back.next_no == schedule.next_no
