"""What the chaos run counts as lost, and which repeats it excuses: each rule, and just beyond it."""

import pytest
from tests.acceptance.receiver import Answer, Arrival
from tests.chaos.verdict import Disturbance, Excuses, lost, repeats

KILL = Disturbance("SIGKILL", frozenset({"replica-0"}), 100.0, 100.5)
EXCUSES = Excuses(timeout=1.0, stalling="receiver fails", disturbances=[KILL], hold=False)


def arrival(at: float, *, source: str = "replica-0", status: int = 202, took: float = 0.1) -> Arrival:
    answer = Answer(status, delay=took)
    return Arrival(at, f"/{source}", 7, {}, "+90555", "hello", answer, at + took)


def excuse(first: Arrival, *, excuses: Excuses = EXCUSES) -> str | None:
    """Of the one repeat of this arrival, a minute later."""
    (repeat,) = repeats([first, arrival(first.at + 60, source="replica-1")], excuses)
    return repeat.excuse


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (arrival(99.95), "SIGKILL"),
        (arrival(99.0), "SIGKILL"),  # answered, and perhaps not settled yet
        (arrival(100.4), "SIGKILL"),  # its last bytes were still on their way
        (arrival(98.8), None),  # settled long ago
        (arrival(100.6), None),
        (arrival(99.95, source="replica-1"), None),  # another one was killed
        (arrival(50.0, took=1.2), "receiver fails"),
        (arrival(50.0, took=0.9), None),
    ],
)
def test_a_repeat_needs_an_excuse_for_the_arrival_before_it(first: Arrival, expected: str | None) -> None:
    assert excuse(first) == expected


def test_an_answer_that_found_its_sender_gone_counts_as_given() -> None:
    unanswered = arrival(99.5, took=0.4)
    unanswered.answered_at = None
    assert excuse(unanswered) == "SIGKILL"
    stalled = arrival(50.0, took=1.5)
    stalled.answered_at = None
    assert excuse(stalled) == "receiver fails"


def test_hold_excuses_nothing() -> None:
    hold = Excuses(timeout=1.0, stalling="receiver fails", disturbances=[KILL], hold=True)
    assert excuse(arrival(99.95), excuses=hold) is None
    assert excuse(arrival(50.0, took=1.2), excuses=hold) is None


def test_every_earlier_arrival_needs_its_own_excuse() -> None:
    seen = repeats([arrival(99.95), arrival(103.0), arrival(110.0)], EXCUSES)
    assert [(repeat.at, repeat.excuse) for repeat in seen] == [(103.0, "SIGKILL"), (110.0, None)]


def test_what_was_refused_may_come_again_and_what_was_had_may_not_come_to_be_refused() -> None:
    assert repeats([arrival(10.0, status=503), arrival(11.0)], EXCUSES) == []
    assert len(repeats([arrival(10.0), arrival(11.0, status=503)], EXCUSES)) == 1


def test_of_several_disturbances_the_last_is_named() -> None:
    outage = Disturbance("Postgres restart", frozenset({"replica-0"}), 98.0, 101.0)
    both = Excuses(timeout=1.0, stalling="receiver fails", disturbances=[outage, KILL], hold=False)
    assert excuse(arrival(99.95), excuses=both) == "SIGKILL"
    assert excuse(arrival(98.2), excuses=both) == "Postgres restart"


@pytest.mark.parametrize("state", ["sent", "failed", "uncertain", "cancelled"])
def test_an_end_is_no_loss(state: str) -> None:
    assert lost([7], {7: state}, had={7}) == {}


@pytest.mark.parametrize(
    ("states", "had", "why"),
    [
        ({}, {7}, "not in the table"),
        ({7: "pending"}, set[int](), "pending"),
        ({7: "sending"}, {7}, "sending"),
        ({7: "sent"}, set[int](), "sent, but the receiver never had it"),
    ],
)
def test_what_has_no_end_or_was_never_had_is_lost(states: dict[int, str], had: set[int], why: str) -> None:
    assert lost([7], states, had) == {7: why}
    assert lost([], states, had) == {}, "what was not accepted cannot be lost"
