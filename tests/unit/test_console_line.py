"""The console's line: what it says, and that no text can act through it."""

import sys
import unicodedata
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from dispatcher.channels.console_line import JsonLine, plain_line
from dispatcher.channels.contract import Envelope

NOW = datetime(2026, 11, 25, 12, 0, 0, 2_000, tzinfo=UTC)
JSON = JsonLine(service="s", version="1", replica="r")
JOINERS = "\u200c\u200d"


def envelope(
    text: str, *, due_at: datetime | None = NOW - timedelta(milliseconds=2), attempt: int = 1
) -> Envelope:
    return Envelope(7, "somebody", text, attempt, "c-1", due_at)


@pytest.mark.parametrize(
    ("late", "shown"),
    [
        (timedelta(milliseconds=-3), "due 12:00:00.005Z  +0 ms"),
        (timedelta(milliseconds=2), "due 12:00:00.000Z  +2 ms"),
        (timedelta(milliseconds=999.9), "due 11:59:59.002Z  +999 ms"),
        (timedelta(seconds=1), "due 11:59:59.002Z  LATE 1.0 s"),
        (timedelta(seconds=65), "due 11:58:55.002Z  LATE 1 min 05 s"),
        (timedelta(minutes=62), "due 10:58:00.002Z  LATE 1 h 02 min"),
        (timedelta(days=2, hours=3), "due 2026-11-23T09:00:00.002Z  LATE 2 d 03 h"),
    ],
)
def test_a_plain_line_says_when_it_was_due_and_how_late_it_is(late: timedelta, shown: str) -> None:
    line = plain_line(envelope("Hello", due_at=NOW - late), NOW).decode()
    assert line == f"2026-11-25T12:00:00.002Z  #7  {shown}  Hello\n"


def test_a_plain_line_says_which_attempt_it_is_from_the_second_on() -> None:
    assert plain_line(envelope("Hello", due_at=None, attempt=2), NOW).split(b"  ")[2] == b"attempt 2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("C:\\new", r"C:\\new"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("x\n2026-11-25T12:00:00.002Z  #8  forged", r"x\n2026-11-25T12:00:00.002Z  #8  forged"),
        ("\x1b[2J\x1b]0;title\x07", r"\u001b[2J\u001b]0;title\u0007"),
        ("\x9b2J\x85\x7f\x00", r"\u009b2J\u0085\u007f\u0000"),
        ("\u2028\u2029\u202e\u2066\u061c\ufeff", r"\u2028\u2029\u202e\u2066\u061c\ufeff"),
        ("\ud800 \U000e0041", r"\ud800 \U000e0041"),
        ("Grüße, 你好 👩\u200d💻 نمی\u200cبینم", "Grüße, 你好 👩\u200d💻 نمی\u200cبینم"),
        ("", ""),
    ],
)
def test_what_acts_is_shown_escaped_and_the_rest_as_it_is(text: str, shown: str) -> None:
    assert plain_line(envelope(text, due_at=None), NOW).decode() == (
        f"2026-11-25T12:00:00.002Z  #7  {shown}\n"
    )
    line = JSON(envelope(text), NOW).decode()
    assert [c for c in line if not c.isprintable() and c not in JOINERS] == ["\n"]


def test_no_character_that_acts_is_forgotten() -> None:
    acting = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    text = "".join(
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) in acting and character not in JOINERS
    )
    assert plain_line(envelope(text, due_at=None), NOW).isascii()
    assert JSON(envelope(text, due_at=None), NOW).isascii()


def test_a_json_line_has_the_fields_of_a_log_line() -> None:
    late = envelope("Hello\x9b", due_at=NOW - timedelta(milliseconds=1.5), attempt=2)
    assert orjson.loads(JSON(late, NOW)) == {
        "@timestamp": "2026-11-25T12:00:00.002Z",
        "log.level": "info",
        "message": "Hello\x9b",
        "ecs.version": "1.6.0",
        "service": {"name": "s", "version": "1", "node": {"name": "r"}},
        "trace": {"id": "c-1"},
        "dispatcher": {
            "message_id": 7,
            "attempt": 2,
            "due_at": "2026-11-25T12:00:00.000500Z",
            "late_ms": 1.5,
        },
    }
