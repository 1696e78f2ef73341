"""The console's lines over any text."""

import json
import re
import unicodedata
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.channels.console_line import JsonLine, plain_line
from dispatcher.channels.contract import Envelope

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
JSON = JsonLine(service="s", version="1", replica="r")
ANY = st.characters(exclude_categories=())
NASTY = st.sampled_from("\\\n\r\x1b\x7f\x9b\x85\u2028\u202e\u200d\ufeff\ud800\udc00\U000e0041u0")
TEXTS = st.text(st.one_of(ANY, NASTY))
ESCAPE = re.compile(r"\\(\\|n|r|t|u[0-9a-f]{4}|U[0-9a-f]{8})")
SHORT = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}


def envelope(text: str) -> Envelope:
    return Envelope(7, "somebody", text, 1, "c-1", NOW)


def acts(character: str) -> bool:
    return (
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in "\u200c\u200d"
    )


@given(TEXTS)
def test_a_plain_line_is_one_line_that_does_nothing_and_can_be_read_back(text: str) -> None:
    line = plain_line(envelope(text), NOW).decode()
    assert line.endswith("\n")
    assert not any(map(acts, line[:-1]))
    shown = line[:-1].removeprefix("2026-11-25T12:00:00.000Z  #7  due 12:00:00.000Z  +0 ms  ")
    assert ESCAPE.sub(lambda found: SHORT.get(found[1]) or chr(int(found[1][1:], 16)), shown) == text


@given(TEXTS)
def test_a_json_line_is_one_line_that_does_nothing_and_holds_the_exact_text(text: str) -> None:
    line = JSON(envelope(text), NOW).decode()
    assert line.endswith("\n")
    assert not any(map(acts, line[:-1]))
    # two halves that stand side by side are one character to whoever reads JSON
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert json.loads(line)["message"] == whole
