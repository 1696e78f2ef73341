"""Backoff, cursors and live values over their whole range."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_conclude import TERMS, TIMING, claimed

from dispatcher.channels.contract import Retry
from dispatcher.channels.retry_after import ABSURD_SECONDS, retry_after_seconds
from dispatcher.delivery.conclude import conclude
from dispatcher.delivery.lane import Terms
from dispatcher.kernel.backoff import delay
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.live_config.model import LiveConfig
from dispatcher.live_config.resolve import KEYS, resolve, resolve_again
from dispatcher.messages.cursor import Cursor
from dispatcher.messages.state import State

JITTERS = st.floats(0, 1, exclude_max=True)
IDS = st.integers(-(2**63) + 1, 2**63 - 1)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
BASES = st.floats(0.01, 3600)
CAPS = st.floats(0.01, 86_400)
DATES = st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
DATE_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y")
PATIENT_TERMS = st.builds(
    lambda base, cap, wish_cap: replace(
        TERMS, max_attempts=100, backoff_base=base, backoff_cap=cap, retry_after_cap=wish_cap
    ),
    BASES,
    CAPS,
    st.floats(0, 86_400),
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.integers().map(lambda n: str(n).encode()),
    st.floats().map(lambda x: str(x).encode()),
    st.sampled_from([b"true", b"retry", b"hold", b"http://x/", b"60", b"90", b"1", b"", b'"\\"x\\""']),
)


@given(st.integers(1, 100_000), BASES, CAPS, st.floats(0, 1, exclude_max=True))
def test_a_delay_stays_within_cap_and_a_quarter(
    failures: int, base: float, cap: float, jitter: float
) -> None:
    plain = delay(failures, base=base, cap=cap, jitter=lambda: 0.0)
    assert plain <= delay(failures, base=base, cap=cap, jitter=lambda: jitter) <= 1.25 * plain
    assert min(base, cap) <= plain <= cap


@given(st.integers(1, 2000), BASES, CAPS)
def test_a_delay_never_falls_with_more_failures(failures: int, base: float, cap: float) -> None:
    first, second = (delay(n, base=base, cap=cap, jitter=lambda: 0.0) for n in (failures, failures + 1))
    assert second == min(cap, 2 * first)


@given(st.integers(1, 30), PATIENT_TERMS, st.floats(0, 1e12), JITTERS)
def test_no_attempt_comes_sooner_than_the_schedule_or_the_capped_wish(
    attempt: int, terms: Terms, wish: float, jitter: float
) -> None:
    outcome = Retry("503", status=503, retry_after=wish)
    result = conclude(claimed(attempt), outcome, TIMING, terms, jitter=lambda: jitter)
    assert result.retry_in is not None
    seconds = result.retry_in.total_seconds()
    schedule = min(terms.backoff_cap, terms.backoff_base * 2.0 ** (attempt - 1))
    soonest = max(schedule, min(wish, terms.retry_after_cap))
    rounding = 1e-6
    assert soonest - rounding <= seconds <= 1.25 * soonest + rounding


@given(st.integers(0, 10**19) | st.integers(0, ABSURD_SECONDS + 5), MOMENTS)
def test_a_wish_in_seconds_is_those_seconds(seconds: int, at: datetime) -> None:
    meant = 0 < seconds <= ABSURD_SECONDS
    assert retry_after_seconds(str(seconds), at.timestamp()) == (seconds if meant else None)


@given(DATES, st.floats(-100, 2 * ABSURD_SECONDS), st.sampled_from(DATE_FORMS))
def test_a_wish_as_a_date_is_the_time_until_then(at: datetime, seconds: float, form: str) -> None:
    moment = (at + timedelta(seconds=seconds)).replace(microsecond=0)
    left = (moment - at).total_seconds()
    meant = 0 < left <= ABSURD_SECONDS
    found = retry_after_seconds(moment.strftime(form), at.timestamp())
    assert found == (pytest.approx(left, rel=0, abs=1e-6) if meant else None)


@given(st.text(max_size=80) | st.from_regex(r"[-+A-Za-z0-9 ,:.]{0,70}", fullmatch=True), MOMENTS)
def test_any_wish_is_some_seconds_ahead_or_none(value: str, at: datetime) -> None:
    seconds = retry_after_seconds(value, at.timestamp())
    assert seconds is None or 0 < seconds <= ABSURD_SECONDS


@given(IDS, MOMENTS, st.sampled_from(State))
def test_a_cursor_comes_back_as_it_went(id_: int, at: datetime, state: State) -> None:
    cursor = Cursor(id_, at, state)
    assert Cursor.parse(str(cursor)) == cursor
    assert len(str(cursor)) <= 200
    assert str(cursor).isascii()


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_a_cursor_means_the_same_moment_in_every_zone(at: datetime, minutes: int) -> None:
    elsewhere = at.astimezone(timezone(timedelta(minutes=minutes)))
    assert Cursor.parse(str(Cursor(1, elsewhere, State.SENT))) == Cursor(1, at, State.SENT)


@given(st.text(max_size=200) | st.binary(max_size=150).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_cursor_or_a_clear_refusal(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except InvalidRequestError:
        return
    assert Cursor.parse(str(cursor)) == cursor


@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_listing_resolves(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    """What is accepted is a whole, valid configuration, and is accepted again as it stands."""
    good = resolve(first, file={}, last_good={}).accepted
    result = resolve(second, file={}, last_good=good)
    assert LiveConfig.model_validate(dict(result.accepted)) == result.config
    assert set(result.accepted) | set(result.refused) == set(second)
    for key in result.refused:
        assert result.accepted.get(key) in {None, good.get(key)}
    again = resolve_again(result.accepted, file={})
    assert (again.config, again.accepted, again.refused) == (result.config, result.accepted, {})
