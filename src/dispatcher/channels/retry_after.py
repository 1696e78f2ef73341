"""The header Retry-After (RFC 9110, 10.2.3): how long a receiver asks to be left alone."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

ABSURD_SECONDS = 365 * 86_400
"""Beyond a year nobody can mean it. Some send the Unix time at which to come back, which says 56 years."""

_DELAY = re.compile(r"[0-9]{1,18}")
_MAX_DATE = 64


def retry_after_seconds(value: str | None, at: float) -> float | None:
    """Seconds from `at`, the moment of the answer in seconds since 1970, that the header's value asks for.

    None when it asks for nothing that can be heeded: it is neither a number of seconds nor a date, the date has
    passed, or it is more than a year away.
    """
    text = (value or "").strip()
    if _DELAY.fullmatch(text):
        seconds = float(text)
    else:
        moment = _moment(text)
        if moment is None:
            return None
        seconds = moment.timestamp() - at
    return seconds if 0 < seconds <= ABSURD_SECONDS else None


def _moment(text: str) -> datetime | None:
    """An HTTP-date, also in the two obsolete forms, and in whatever else mail programs call a date."""
    if len(text) > _MAX_DATE:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year of ten digits
        return None
    # Without a zone it is the form of asctime, which means UTC.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
