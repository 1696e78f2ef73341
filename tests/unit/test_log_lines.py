"""Plain log lines: what begins in the first column is an event, whatever its values hold."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.kernel.harmless import ACTING
from dispatcher.kernel.log_lines import PlainLines

FORGED = "x\n2026-11-25T00:00:00.000Z error    1 forged"
line = PlainLines()


def test_time_level_process_event_and_values() -> None:
    text = line(
        None, "info", {"level": "info", "event": "tick_done", "sent": 2, "why": "two words", "none": None}
    )
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info     \d+ tick_done sent=2 why='two words' none=None",
        text,
    )


def test_a_traceback_is_indented() -> None:
    error = ValueError(FORGED)
    first, *others = line(None, "error", {"event": "loop_failed", "exc_info": error}).split("\n")
    assert first.endswith("loop_failed")
    assert "    ValueError: x" in others
    assert all(other.startswith("    ") for other in others)


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(min_size=1), st.text() | st.dictionaries(st.text(), st.text(), max_size=2))
def test_no_value_ends_a_line_or_reaches_the_terminal(event: str, key: str, value: object) -> None:
    text = line(
        None, "info", {"event": event + FORGED, f"{key}\r": value, "also": f"\x1b[2J{FORGED}\x85\u2028\ud800"}
    )
    assert re.search(f"[{ACTING}]", text) is None
    text.encode()
