"""The line that the console channel prints for a message: for people, or one JSON object.

What a message says cannot act: whatever ends a line, moves a cursor or reorders text is shown escaped, in both forms.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import orjson

from dispatcher.channels.contract import LATE, Envelope
from dispatcher.kernel.ecs import ECS_VERSION
from dispatcher.kernel.harmless import ACTING, escape

Line = Callable[[Envelope, datetime], bytes]
"""Makes the line, with its end, of a message that is printed at this moment."""

_IN_PLAIN = re.compile(rf"[\\{ACTING}]")
_IN_JSON = re.compile(f"[{ACTING}]")
_NOTHING, _MILLISECOND = timedelta(0), timedelta(milliseconds=1)
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def plain_line(envelope: Envelope, now: datetime) -> bytes:
    """The line for people: fields first and the text last, so that no text can pass for a field.

    A backslash is doubled, so that an escape can be told from the same characters in the text.
    """
    printed, due, again = _moment(now), "", ""
    if envelope.due_at is not None:
        day, time = (shown := _moment(envelope.due_at)).split("T")
        due = f"  due {time if printed.startswith(day) else shown}  {_lateness(now - envelope.due_at)}"
    if envelope.attempt > 1:
        again = f"  attempt {envelope.attempt}"
    return f"{printed}  #{envelope.message_id}{due}{again}  {_shown(envelope.content)}\n".encode()


class JsonLine:
    """Makes the line for machines: the fields of a log line (`kernel/ecs.py`), and the exact text in `message`."""

    def __init__(self, *, service: str, version: str, replica: str) -> None:
        self._service = _json({"name": service, "version": version, "node": {"name": replica}})

    def __call__(self, envelope: Envelope, now: datetime) -> bytes:
        """The line."""
        due = ""
        if envelope.due_at is not None:
            late_ms = max(0.0, round((now - envelope.due_at) / _MILLISECOND, 3))
            due = f',"due_at":"{_moment(envelope.due_at, "microseconds")}","late_ms":{late_ms}'
        # Put together by hand: when many messages are due at one instant, the time that a line takes is lateness.
        return (
            f'{{"@timestamp":"{_moment(now)}","log.level":"info","message":{_json(envelope.content)},'
            f'"ecs.version":"{ECS_VERSION}","service":{self._service},"trace":{{"id":{_json(envelope.correlation_id)}}},'
            f'"dispatcher":{{"message_id":{envelope.message_id},"attempt":{envelope.attempt}{due}}}}}\n'
        ).encode()


def _json(value: str | dict[str, Any]) -> str:
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # half of a surrogate pair: no valid Unicode, but JSON can say it
        text = json.dumps(value, separators=(",", ":"))
    # what acts is inside of a string there, where it may be escaped
    return text if text.isprintable() else _IN_JSON.sub(lambda found: _json_escape(found[0]), text)


@lru_cache(maxsize=64)  # the lines that go out together say the same moment, and often the same time
def _moment(moment: datetime, timespec: str = "milliseconds") -> str:
    return f"{moment.astimezone(UTC).isoformat(timespec=timespec)[:-6]}Z"


def _lateness(late: timedelta) -> str:
    """By how much, in the two units that say it."""
    if late < LATE:
        return f"+{max(_NOTHING, late) // _MILLISECOND} ms"
    seconds = int(late.total_seconds())
    if seconds < _MINUTE:
        return f"LATE {late.total_seconds():.1f} s"
    if seconds < _HOUR:
        return f"LATE {seconds // _MINUTE} min {seconds % _MINUTE:02} s"
    if seconds < _DAY:
        return f"LATE {seconds // _HOUR} h {seconds % _HOUR // _MINUTE:02} min"
    return f"LATE {seconds // _DAY} d {seconds % _DAY // _HOUR:02} h"


def _shown(text: str) -> str:
    if text.isprintable() and "\\" not in text:  # by far the most, and much quicker to see than to search
        return text
    return _IN_PLAIN.sub(lambda found: _plain_escape(found[0]), text)


def _plain_escape(character: str) -> str:
    return r"\\" if character == "\\" else escape(character)


@cache
def _json_escape(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
