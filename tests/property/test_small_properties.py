"""Backoff, cursors and live values over their whole range."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.kernel.backoff import delay
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.live_config.model import LiveConfig
from dispatcher.live_config.resolve import KEYS, resolve, resolve_again
from dispatcher.messages.listing import Cursor

IDS = st.integers(-(2**63) + 1, 2**63 - 1)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
BASES = st.floats(0.01, 3600)
CAPS = st.floats(0.01, 86_400)
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


@given(IDS, st.none() | MOMENTS)
def test_a_cursor_comes_back_as_it_went(id_: int, at: datetime | None) -> None:
    cursor = Cursor(id_, at)
    assert Cursor.parse(str(cursor)) == cursor
    assert len(str(cursor)) <= 200
    assert str(cursor).isascii()


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_a_cursor_means_the_same_moment_in_every_zone(at: datetime, minutes: int) -> None:
    elsewhere = at.astimezone(timezone(timedelta(minutes=minutes)))
    assert Cursor.parse(str(Cursor(1, elsewhere))) == Cursor(1, at)


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
