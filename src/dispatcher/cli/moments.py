"""--at and --in: when, as a time or as a while from now."""

import re
from datetime import UTC, timedelta
from typing import Annotated

import typer

from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.errors import InvalidRequestError

At = Annotated[
    str | None,
    typer.Option(
        "--at",
        help="When: ISO 8601 with a zone, e.g. 2030-12-24T18:00:00+03:00, or seconds or milliseconds since 1970.",
    ),
]
In = Annotated[
    str | None,
    typer.Option("--in", help="How long from now, by this machine's clock: 1500ms, 10s, 5m, 2h, 1d, 1h30m."),
]

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_PIECE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_MOST = timedelta(days=36_500)  # the service knows how far ahead it may be; this only keeps to the calendar


def moment(at: str | None, in_: str | None) -> str:
    """The time to send to the service, which judges it.

    Raises:
        InvalidRequestError: Not exactly one of them was given, or --in is not a while.
    """
    if (at is None) == (in_ is None):
        raise InvalidRequestError("say when: --at 2030-12-24T18:00:00+03:00, or --in 10s")
    if at is not None:
        return at
    assert in_ is not None
    return (utc_now() + duration(in_)).astimezone(UTC).isoformat().replace("+00:00", "Z")


def duration(text: str) -> timedelta:
    """How long `1h30m` is.

    Raises:
        InvalidRequestError: It is not a while.
    """
    pieces = _PIECE.findall(text)
    if not pieces or "".join(map("".join, pieces)) != text:
        raise InvalidRequestError(
            f"--in: {text[:40]!r} is not a while; say e.g. 1500ms, 10s, 5m, 2h, 1d or 1h30m"
        )
    try:
        total = sum((float(number) * _UNITS[unit] for number, unit in pieces), timedelta())
    except OverflowError:
        total = timedelta.max
    if total > _MOST:
        raise InvalidRequestError(f"--in: {text[:40]} is too far ahead; at most 10 years are taken")
    return total
