"""Moments: a time as people and programs write it, understood, or refused in words that say what to write. Pure.

| written | understood as |
|---|---|
| `2026-12-24T18:00:00+03:00`, `2026-12-24 15:00Z`, `20261224T150000,250z` | ISO 8601: a date, a time of day, `Z` or an offset |
| `1798124400`, `1798124400.25`, `"1798124400"` | seconds since 1970: ten digits before the point (2001 to 2286) |
| `1798124400000` | milliseconds since 1970: thirteen digits (2001 to 2286) |

Any other number is refused, not guessed at: 10 is no moment of 1970, and 20261224 is none either.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

MAX_AHEAD = timedelta(days=3653)
GRACE = timedelta(seconds=1)
"""A moment so little past is now: programs cut the time to whole seconds, and no two clocks agree."""

TIME_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "number"}]}
"""What JSON may hold for a moment."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS, _MILLISECONDS = range(10**9, 10**10), range(10**12, 10**13)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_ISO = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2}|\d{8}|\d{4}-W\d{2}-\d|\d{4}W\d{3})"
    r"[T ](?P<time>\d{2}(:\d{2}(:\d{2}([.,]\d+)?)?|\d{2}(\d{2}([.,]\d+)?)?)?)"
    r" ?(?P<zone>Z|[+-]\d{2}(:?\d{2})?)?",
    re.ASCII,
)
_LOST_PLUS = re.compile(r"[T ]\d{2}[\d:.,]* \d{2}(:?\d{2})?", re.ASCII)
_NAMED_ZONE = re.compile(r"\[?[A-Za-z]+/[A-Za-z_/+-]+\]?$", re.ASCII)
_SHOWN = 40
LONGEST = 100
"""Characters of what can be a time at all."""


class PastError(ValueError):
    """The moment has passed."""

    def __init__(self, text: str, moment: datetime) -> None:
        super().__init__(text)
        self.moment = moment


def understood(given: object, now: datetime) -> datetime:
    """The moment that was written, in UTC: not past by more than GRACE, at most MAX_AHEAD ahead.

    Raises:
        PastError: It has passed.
        ValueError: It is not a moment, or has no zone, or is too far ahead. The text says which, and gives an example.
    """
    moment = _read(given, now)
    ahead = moment - now
    if ahead < -GRACE:
        text = f"{_shown(given)} is in the past; it is {_iso(now)} now; {_example(now)}"
        raise PastError(text, max(moment, _EPOCH).astimezone(UTC))
    if ahead > MAX_AHEAD:
        raise ValueError(f"{_shown(given)} is more than 10 years ahead; {_example(now)}")
    return moment.astimezone(UTC)


def _read(given: object, now: datetime) -> datetime:
    if isinstance(given, str):
        text = given.strip().upper()
        if not _NUMBER.fullmatch(text):
            return _iso_8601(given, text, now)
        whole = len(text.partition(".")[0]) in (10, 13)  # a longer one is not worth the conversion
        number: float | int = (float(text) if "." in text else int(text)) if whole else 0
    elif isinstance(given, int | float) and not isinstance(given, bool):
        number = given
    else:
        raise _unreadable(given, now)
    # NaN is in neither
    if _SECONDS.start <= number < _SECONDS.stop:
        return _EPOCH + timedelta(seconds=number)
    if _MILLISECONDS.start <= number < _MILLISECONDS.stop:
        return _EPOCH + timedelta(milliseconds=number)
    raise ValueError(
        f"{_shown(given)} is neither seconds since 1970, which have 10 digits, nor milliseconds, which have 13; "
        f"{_example(now)}"
    )


def _iso_8601(given: str, text: str, now: datetime) -> datetime:
    if len(text) > LONGEST:  # the searches below would take their time
        raise _unreadable(given, now)
    found = _ISO.fullmatch(text)
    if found is None:
        if _LOST_PLUS.search(text):
            raise ValueError(
                f"{_shown(given)} has a space before its offset, which is what a + means in a URL; write %2B; "
                f"{_example(now)}"
            )
        if _NAMED_ZONE.search(given.strip()):
            raise ValueError(
                f"{_shown(given)} names a zone; write the offset: when clocks go back, a name means two moments; "
                f"{_example(now)}"
            )
        raise _unreadable(given, now)
    if found["zone"] is None:
        raise ValueError(f"{_shown(given)} has no zone; end it with Z or an offset; {_example(now)}")
    try:
        return datetime.fromisoformat(f"{found['date']}T{found['time']}{found['zone']}")
    except ValueError:  # the 31st of February
        raise _unreadable(given, now) from None


def _unreadable(given: object, now: datetime) -> ValueError:
    return ValueError(
        f"{_shown(given)} is not a time; write ISO 8601 with a zone, or seconds or milliseconds since 1970; "
        f"{_example(now)}"
    )


def _example(now: datetime) -> str:
    return f"e.g. {_iso(now + timedelta(minutes=1))}"


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _shown(given: object) -> str:
    """What was given, in few characters that any encoding takes."""
    if isinstance(given, str):
        cut = given if len(given) <= _SHOWN else f"{given[: _SHOWN - 1]}…"
        return f'"{cut.encode("utf-8", "backslashreplace").decode()}"'
    if given is None or isinstance(given, bool):
        return str(given).lower() if given is not None else "null"
    if isinstance(given, float) or (isinstance(given, int) and abs(given) < 10**_SHOWN):
        return str(given)
    return "it"
