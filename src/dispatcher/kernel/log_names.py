"""Names in LOG_DIR: one log a day (UTC) for everything, one for errors, and a ZIP file for each day that is over."""

import re
from collections.abc import Iterable
from datetime import date, timedelta

EVERYTHING = "dispatcher"
ERRORS = "dispatcher-errors"

_OURS = re.compile(rf"(?:{EVERYTHING}|{ERRORS})-(\d{{4}}-\d\d-\d\d)(?:\.log|(?:\.\d+)?\.zip(?:\.part)?)")


def log_name(stem: str, day: date) -> str:
    """What everybody appends to on this day."""
    return f"{stem}-{day.isoformat()}.log"


def zip_name(log: str, number: int) -> str:
    """What a log goes into. There is a second one only if somebody began the log anew after it was zipped."""
    return f"{log.removesuffix('.log')}{'' if number == 1 else f'.{number}'}.zip"


def past_logs(names: Iterable[str], today: date) -> list[str]:
    """The logs of days that are over, oldest first."""
    return sorted(name for name in names if name.endswith(".log") and _before(name, today))


def too_old(names: Iterable[str], today: date, *, keep_days: int) -> list[str]:
    """The ZIP files, and pieces of them, of days that ended more than so many whole days ago, oldest first.

    A piece stays while its log is there: somebody may be zipping it.
    """
    first_kept, there = today - timedelta(days=keep_days), set(names)
    return sorted(
        name
        for name in there
        if not name.endswith(".log")
        and _before(name, first_kept)
        and not (name.endswith(".part") and f"{name.partition('.')[0]}.log" in there)
    )


def _before(name: str, day: date) -> bool:
    match = _OURS.fullmatch(name)
    try:
        return match is not None and date.fromisoformat(match[1]) < day
    except ValueError:  # 2026-02-31
        return False
