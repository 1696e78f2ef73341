"""The breaker: which outcomes count, what begins the count anew, and that a run of failures trips once."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.channels.contract import Delivered, Outcome, Rejected, Retry
from dispatcher.delivery.breaker import Breaker, failed
from dispatcher.delivery.pace import Tick

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TICK = Tick("webhook", 7, NOW, 2, timedelta(seconds=1), waiting=1, dropped=0, grid_no=3)
DOWN = Retry("connection refused", target_failed=True)
SENT = Delivered(NOW.timestamp(), status=202)
BUSY = Retry("429", status=429)
LIMIT = 3


def tripped(
    breaker: Breaker, outcomes: Iterable[Outcome], tick: Tick = TICK, target: str = "here"
) -> list[bool]:
    return [breaker.trips(outcome, tick, target, limit=LIMIT) for outcome in outcomes]


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [(DOWN, True), (Retry("503", status=503, target_failed=True), True)]
    + [(other, False) for other in (SENT, BUSY, Rejected("404", status=404))],
)
def test_only_failures_of_the_target_count(outcome: Outcome, counts: bool) -> None:  # noqa: FBT001 - drawn by name
    assert failed(outcome) is counts
    assert tripped(Breaker(), [DOWN, DOWN, outcome]) == [False, False, counts]


@pytest.mark.parametrize("answer", [SENT, BUSY, Rejected("404", status=404)])
def test_any_answer_begins_the_count_anew(answer: Outcome) -> None:
    assert tripped(Breaker(), [DOWN, DOWN, answer, DOWN, DOWN, DOWN]) == [False] * 5 + [True]


def test_a_run_trips_once_and_a_whole_run_more_trips_again() -> None:
    assert tripped(Breaker(), [DOWN] * 7) == [False, False, True, False, False, True, False]


def test_what_comes_late_from_before_a_pause_does_not_count() -> None:
    breaker = Breaker()
    later = replace(TICK, no=12, grid_no=11)
    assert not any(tripped(breaker, [DOWN] * 2))
    assert not any(tripped(breaker, [DOWN], later)), "the lane has resumed: the count began anew"
    assert not any(tripped(breaker, [DOWN] * 9))
    assert tripped(breaker, [DOWN, SENT, DOWN, DOWN, DOWN], later) == [False] * 4 + [True]


def test_a_late_success_from_before_a_pause_hides_no_failure_after_it() -> None:
    breaker = Breaker()
    later = replace(TICK, no=12, grid_no=11)
    assert tripped(breaker, [DOWN, DOWN], later) == [False, False]
    assert tripped(breaker, [SENT]) == [False]
    assert tripped(breaker, [DOWN], later) == [True]


def test_a_probe_and_another_target_do_not_count() -> None:
    breaker = Breaker()
    assert not any(tripped(breaker, [DOWN] * 9, replace(TICK, probe=True)))
    assert tripped(breaker, [DOWN] * 2) == [False, False]
    assert tripped(breaker, [DOWN] * 3, target="there") == [False, False, True]


@given(st.lists(st.sampled_from([DOWN, SENT, BUSY])), st.integers(1, 6))
def test_it_trips_at_every_full_run_and_nowhere_else(outcomes: list[Outcome], limit: int) -> None:
    breaker, run = Breaker(), 0
    for outcome in outcomes:
        run = run + 1 if outcome is DOWN else 0
        assert breaker.trips(outcome, TICK, "here", limit=limit) == (run > 0 and run % limit == 0)
