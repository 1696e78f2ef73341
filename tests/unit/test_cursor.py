"""Cursors that people made up themselves."""

import base64
from datetime import UTC, datetime

import pytest

from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.cursor import Cursor
from dispatcher.messages.state import State


def test_ours_reads_back() -> None:
    cursor = Cursor(1, datetime(2026, 1, 1, tzinfo=UTC), State.FAILED)
    assert Cursor.parse(str(cursor)) == cursor


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "====",
        "é",
        "\x00",
        "a+b/",
        "A" * 100_000,
        encoded("null"),
        encoded("[]"),
        encoded("{}"),
        encoded('{"1": 2}'),
        encoded('"12"'),
        encoded("[1.5]"),
        encoded("[true]"),
        encoded('["1"]'),
        encoded("[1e999]"),
        encoded("[NaN]"),
        encoded("[9223372036854775808]"),
        encoded("[-9223372036854775809]"),
        encoded("[" + "9" * 5000 + "]"),
        encoded("[[[[1]]]]"),
        encoded('[1, "2026-01-01T00:00:00"]'),
        encoded('[1, "yesterday"]'),
        encoded("[1, 5]"),
        encoded('[1, "2026-01-01T00:00:00Z"]'),
        encoded('[1, "2026-01-01T00:00:00Z", 3]'),
        encoded('[1, "2026-01-01T00:00:00Z", "lost"]'),
        encoded('[true, "2026-01-01T00:00:00Z", "sent"]'),
        encoded('["1", "2026-01-01T00:00:00Z", "sent"]'),
        encoded('[1, "2026-01-01T00:00:00", "sent"]'),
        encoded('[1, "yesterday", "sent"]'),
        encoded('[1, null, "sent"]'),
        encoded('[1, "2026-01-01T00:00:00Z", "sent", 4]'),
        encoded('[9223372036854775808, "2026-01-01T00:00:00Z", "sent"]'),
        encoded('[1, "0001-01-01T00:00:00+14:00", "sent"]'),
        encoded('[1, "9999-12-31T23:59:59-14:00", "sent"]'),
    ],
)
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="cursor: "):
        Cursor.parse(text)
