"""What an outcome means for its message."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from dispatcher.channels.contract import Delivered, Rejected, Retry
from dispatcher.delivery.claim_size import CLAIM_AT_MOST, next_claim_size
from dispatcher.delivery.conclude import Timing, conclude
from dispatcher.delivery.lane import Terms
from dispatcher.delivery.pace import Pace
from dispatcher.messages.claim import ClaimedMessage, Lease
from dispatcher.messages.state import State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = UUID("12345678-1234-5678-1234-567812345678")
TIMING = Timing(NOW.timestamp(), 0.0126, 41)
TERMS = Terms(
    pace=Pace(2, timedelta(seconds=120), 100, auto_sending=True, blocked=None),
    target="here",
    concurrency=4,
    attempt_seconds=10,
    lease_seconds=30,
    max_attempts=3,
    backoff_base=5,
    backoff_cap=60,
    retry_after_cap=600,
    breaker_failures=20,
    hold_uncertain=False,
)


def claimed(attempt: int) -> ClaimedMessage:
    return ClaimedMessage(7, "+90555", "hello", attempt, NOW, Lease(LEASE, 0.0))


def test_delivered_is_sent_with_its_receipt() -> None:
    outcome = Delivered(NOW.timestamp() + 1, status=202, receipt_id="r-1", excerpt="ok")
    result = conclude(claimed(1), outcome, TIMING, TERMS, jitter=lambda: 0.0)
    assert (result.state, result.outcome, result.sent_at, result.receipt_id) == (
        State.SENT,
        "delivered",
        NOW.timestamp() + 1,
        "r-1",
    )
    assert (result.message_id, result.lease_id, result.number, result.tick_no) == (7, LEASE, 1, 41)
    assert (result.status, result.excerpt, result.error, result.retry_in) == (202, "ok", None, None)
    assert (result.started_at, result.duration_ms) == (NOW.timestamp(), 13)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 5), (2, 10)])
def test_retry_waits_longer_each_time(attempt: int, seconds: float) -> None:
    result = conclude(claimed(attempt), Retry("500", status=500), TIMING, TERMS, jitter=lambda: 0.0)
    assert (result.state, result.retry_in) == (State.PENDING, timedelta(seconds=seconds))
    assert (result.outcome, result.error, result.status, result.sent_at) == ("retry", "500", 500, None)


@pytest.mark.parametrize(
    ("attempt", "wish", "seconds"),
    [(1, None, 5), (1, 3.0, 5), (1, 120.0, 120), (2, 7.5, 10), (1, 600.0, 600), (1, 86_400.0, 600)],
)
def test_a_receivers_wish_is_heeded_up_to_a_cap(attempt: int, wish: float | None, seconds: float) -> None:
    for outcome in (Retry("503", status=503, retry_after=wish), Retry("429", status=429, retry_after=wish)):
        result = conclude(claimed(attempt), outcome, TIMING, TERMS, jitter=lambda: 0.0)
        assert (result.state, result.retry_in) == (State.PENDING, timedelta(seconds=seconds))


def test_no_wish_gives_a_message_more_attempts() -> None:
    result = conclude(claimed(3), Retry("503", retry_after=9.0), TIMING, TERMS, jitter=lambda: 0.0)
    assert (result.state, result.retry_in) == (State.FAILED, None)


def test_what_may_have_arrived_is_held_where_that_is_wanted_and_only_then() -> None:
    hold = replace(TERMS, hold_uncertain=True)
    for outcome, terms, state in (
        (Retry("no answer", maybe_delivered=True), hold, State.UNCERTAIN),
        (Retry("no answer", maybe_delivered=True), TERMS, State.PENDING),
        (Retry("connection refused"), hold, State.PENDING),
    ):
        result = conclude(claimed(1), outcome, TIMING, terms, jitter=lambda: 0.0)
        assert (result.state, result.retry_in is None) == (state, state is State.UNCERTAIN)


def test_the_last_attempt_fails_the_message() -> None:
    for attempt in (3, 4):  # 4: max_attempts was lowered meanwhile
        result = conclude(claimed(attempt), Retry("timeout"), TIMING, TERMS, jitter=lambda: 0.0)
        assert (result.state, result.outcome, result.retry_in) == (State.FAILED, "retry", None)


@pytest.mark.parametrize(("attempt", "seconds"), [(5, 5), (6, 10), (7, None)])
def test_after_a_retry_by_hand_attempts_and_backoff_count_anew(attempt: int, seconds: float | None) -> None:
    message = replace(claimed(attempt), attempts_before=4)
    result = conclude(message, Retry("500"), TIMING, TERMS, jitter=lambda: 0.0)
    assert result.number == attempt
    assert result.state is (State.FAILED if seconds is None else State.PENDING)
    assert result.retry_in == (None if seconds is None else timedelta(seconds=seconds))


def test_rejected_fails_at_once() -> None:
    result = conclude(claimed(1), Rejected("404", status=404), TIMING, TERMS, jitter=lambda: 0.0)
    assert (result.state, result.outcome, result.retry_in, result.error) == (
        State.FAILED,
        "rejected",
        None,
        "404",
    )


@pytest.mark.parametrize(
    ("size", "seconds", "following"),
    [
        (64, 0.0, 128),
        (900, 0.01, CLAIM_AT_MOST),
        (CLAIM_AT_MOST, 0.01, CLAIM_AT_MOST),
        (128, 0.5, 128),
        (128, 0.1, 128),
        (128, 1.0, 128),
        (500, 3.0, 250),
        (100, 3.0, 64),  # never fewer than there are workers
    ],
)
def test_the_size_of_a_claim_follows_the_time_it_takes(size: int, seconds: float, following: int) -> None:
    assert next_claim_size(size, seconds, least=64) == following
