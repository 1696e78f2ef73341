"""Postgres's clock as it is followed from here: never further off than its looks allow, and a jump is a jump."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.kernel.database_clock import DRIFT, JUMP_SECONDS, READING_ERROR, DatabaseClock

BEGAN = datetime(2026, 11, 25, tzinfo=UTC)

looks = st.lists(
    st.tuples(
        st.floats(0.001, 5.0),  # since the look before
        st.floats(0.0, 0.2),  # its round trip
        st.floats(0.0, 1.0),  # at which part of it Postgres read its clock
    ),
    min_size=1,
    max_size=30,
)


def offset(clock: DatabaseClock) -> float:
    return clock._offset  # noqa: SLF001 - what `now` adds to a clock that no test can set


@given(looks, st.floats(-DRIFT, DRIFT))
def test_it_is_never_further_off_than_its_best_look_and_the_drift_allow(
    given_looks: list[tuple[float, float, float]], drift: float
) -> None:
    clock, at, allowed = DatabaseClock(), 1000.0, float("inf")
    for since, trip, part in given_looks:
        at += since
        read = at + trip * part
        shown = BEGAN + timedelta(seconds=read * (1 + drift))
        assert clock.observe(shown, began=at, ended=at + trip) == 0.0
        at += trip
        allowed = min(allowed + 2 * DRIFT * (since + trip), trip / 2 + 2 * READING_ERROR + 2 * DRIFT * trip)
        true = BEGAN.timestamp() + at * drift
        assert abs(offset(clock) - true) <= allowed + 1e-5


@given(looks, st.floats(JUMP_SECONDS + 0.5, 86_400), st.sampled_from([1, -1]))
def test_a_jump_is_told_once_and_followed(
    given_looks: list[tuple[float, float, float]], jump: float, sign: int
) -> None:
    clock, at = DatabaseClock(), 1000.0
    for since, trip, part in given_looks:
        at += since
        clock.observe(BEGAN + timedelta(seconds=at + trip * part), began=at, ended=at + trip)
        at += trip
    ahead = sign * jump
    told = clock.observe(BEGAN + timedelta(seconds=at + ahead), began=at, ended=at)
    assert abs(told - ahead) < 0.3
    assert clock.observe(BEGAN + timedelta(seconds=at + 1 + ahead), began=at + 1, ended=at + 1) == 0.0
    assert abs(offset(clock) - (BEGAN.timestamp() + ahead)) < 0.001
