"""Which moment a written time is, and what is said of one that is none."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dispatcher.messages.moment import GRACE, MAX_AHEAD, PastError, understood

NOW = datetime(2026, 11, 25, 21, 39, 0, 250_000, tzinfo=UTC)
EXAMPLE = "e.g. 2026-11-25T21:40:00Z"
CHRISTMAS = datetime(2026, 12, 24, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "2026-12-24T18:00:00+03:00",
            "2026-12-24T15:00:00Z",
            "2026-12-24t15:00:00z",
            "2026-12-24 15:00:00Z",
        ),
        *(
            "2026-12-24 18:00:00 +03:00",
            "2026-12-24T18:00+03",
            "2026-12-24T18:00:00+0300",
            "20261224T150000Z",
        ),
        *("2026-W52-4T15:00Z", "2026-12-24T15Z", "2026-12-24T15:00:00-00:00", " 2026-12-24T15:00:00.000Z\n"),
        *("2026-12-24T15:00:00,0Z", "2026-12-25T05:00:00+14:00", "2026-12-24T20:45:00+05:45"),
        *(1798124400, 1798124400.0, "1798124400", "1798124400.0"),
        *(1798124400000, 1798124400000.0, "1798124400000"),
    ],
)
def test_one_moment_in_many_writings(written: object) -> None:
    found = understood(written, NOW)
    assert (found, found.tzinfo) == (CHRISTMAS, UTC)


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [
        ("2026-12-24T15:00:00.123456Z", 123_456),
        ("2026-12-24T15:00:00,25Z", 250_000),
        ("2026-12-24T15:00:00.1234567Z", 123_456),
        (1798124400.25, 250_000),
        ("1798124400.123456", 123_456),
        (1798124400123, 123_000),
        ("1798124400123.5", 123_500),
    ],
)
def test_fractions_of_a_second_stay(written: object, microseconds: int) -> None:
    assert understood(written, NOW) == CHRISTMAS + timedelta(microseconds=microseconds)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        *((text, "is not a time") for text in ("", "tomorrow", "18:00", "2026-12-24", "2026-12-24T", "NaN")),
        *((text, "is not a time") for text in ("2026-02-30T10:00:00Z", "2026-12-24T25:00:00Z", "1e9", "-1798124400")),
        *((text, "is not a time") for text in ("2026-12-24x18:00:00Z", "2026-12-24T18:00:00+3", "\x00", "\ud800")),
        *((text, "is not a time") for text in ("١٧٩٨١٢٤٤٠٠", "2026-12-24T18:00:00+25:00")),
        *((thing, "is not a time") for thing in (None, True, False, [1798124400], {"time": 1798124400})),
        *((text, "has no zone") for text in ("2026-12-24T18:00:00", "2026-12-24 18:00", "20261224T1800", "2020-01-01T00:00:00")),
        *((text, "write %2B") for text in ("2026-12-24T18:00:00 03:00", "2026-12-24 18:00 0300", "2026-12-24T18:00:00 03")),
        *((text, "names a zone") for text in ("2026-12-24T18:00:00 Europe/Istanbul", "2026-12-24T18:00:00+03:00[Europe/Istanbul]")),
        *((text, "is in the past") for text in ("2026-11-25T21:38:59Z", "2026-11-26T00:38:00+03:00", "0001-01-01T00:00:00+14:00")),
        *((number, "is in the past") for number in (1_000_000_000, 1_700_000_000.5, "1700000000", 1_700_000_000_000)),
        *((text, "more than 10 years ahead") for text in ("2036-12-24T18:00:00Z", "9999-12-31T23:59:59-14:00")),
        *((number, "more than 10 years ahead") for number in (2_200_000_000, 9_999_999_999, "9999999999999")),
        *((number, "neither seconds since 1970") for number in (0, 10, -1, 20261224, "10", 0.5, 1e300, 10**4000)),
        *((number, "neither seconds since 1970") for number in (float("nan"), float("inf"), -float("inf"), "9" * 5000)),
        *((number, "neither seconds since 1970") for number in (99_999_999_999, 999_999_999_999, 10**13, 20261224180000)),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_with_an_example(written: object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        understood(written, NOW)
    assert isinstance(refused.value, PastError) == (said == "is in the past")
    assert str(refused.value).endswith(EXAMPLE)
    assert len(str(refused.value)) < 250
    str(refused.value).encode()


def test_a_number_that_no_text_can_hold() -> None:
    with pytest.raises(ValueError, match="it is neither seconds"):
        understood(10**5000, NOW)


def test_just_past_is_now_and_the_example_is_good() -> None:
    assert understood((NOW - GRACE).isoformat(), NOW) == NOW - GRACE
    assert understood("2026-11-25T21:39:00Z", NOW) == NOW.replace(microsecond=0), "as `date` cuts it"
    with pytest.raises(PastError):
        understood((NOW - GRACE - timedelta(microseconds=1)).isoformat(), NOW)
    assert understood(EXAMPLE.removeprefix("e.g. "), NOW) > NOW
    assert understood((NOW + MAX_AHEAD).isoformat(), NOW) == NOW + MAX_AHEAD
    with pytest.raises(ValueError, match="10 years"):
        understood((NOW + MAX_AHEAD + timedelta(microseconds=1)).isoformat(), NOW)


@pytest.fixture(params=["UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0"])
def machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is in that zone. What is written says its own offset, so that must mean nothing."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("machine_zone")
@pytest.mark.parametrize(
    ("before", "after", "apart"),
    [
        ("2027-03-28T01:59:59+01:00", "2027-03-28T03:00:00+02:00", timedelta(seconds=1)),
        ("2027-03-27T09:00:00+01:00", "2027-03-28T09:00:00+02:00", timedelta(hours=23)),
        ("2027-10-31T02:30:00+02:00", "2027-10-31T02:30:00+01:00", timedelta(hours=1)),
        ("2027-10-30T09:00:00+02:00", "2027-10-31T09:00:00+01:00", timedelta(hours=25)),
        ("2027-03-28T02:30:00+01:00", "2027-03-28T01:30:00Z", timedelta(0)),  # which no clock shows there
    ],
)
def test_when_clocks_change_a_moment_is_that_of_utc(before: str, after: str, apart: timedelta) -> None:
    first, second = understood(before, NOW), understood(after, NOW)
    assert second - first == apart
    for written, found in ((before, first), (after, second)):
        local = datetime.strptime(written[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        offset = timedelta(0) if written.endswith("Z") else timedelta(hours=int(written[19:22]))
        assert found == local - offset


FUTURE = st.integers(0, MAX_AHEAD // timedelta(microseconds=1)).map(lambda n: NOW + timedelta(microseconds=n))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(FUTURE, ZONES, st.sampled_from("Tt "))
def test_a_moment_is_the_same_in_every_zone_and_writing(at: datetime, zone: timezone, between: str) -> None:
    assert understood(at.astimezone(zone).isoformat(sep=between), NOW) == at
    milliseconds = round((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    near = understood(milliseconds, NOW)
    assert understood(str(milliseconds), NOW) == near
    assert abs(near - at) <= timedelta(microseconds=500)
    assert abs(understood(at.timestamp(), NOW) - at) <= timedelta(microseconds=1)


@given(st.integers() | st.floats() | st.integers(10**8, 10**14) | st.integers(10**8, 10**14).map(str))
def test_a_number_is_never_understood_as_a_moment_beyond_its_bounds(number: float | str) -> None:
    try:
        at = understood(number, NOW)
    except ValueError:
        return
    assert NOW - GRACE <= at <= NOW + MAX_AHEAD
    unit = at.timestamp() / float(number)
    assert any(abs(unit / each - 1) < 1e-6 for each in (1, 1e-3))


@given(st.text())
def test_any_text_is_understood_or_refused_in_words(text: str) -> None:
    assume(not text[:4].isdigit())
    with pytest.raises(ValueError, match=r"is not a time|has no zone|neither|names a zone|%2B"):
        understood(text, NOW)


def test_a_long_text_costs_no_more_than_a_short_one() -> None:
    with pytest.raises(ValueError, match="is not a time"):
        understood("a/" * 10_000_000 + "!", NOW)
