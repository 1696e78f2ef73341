"""Columns: whatever a client puts into them, Postgres has the same."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from dispatcher.kernel.columns import column, rows_of
from dispatcher.kernel.db import Pool
from dispatcher.messages.state import State

NUMBERS = [0, -1, 2**63 - 1, -(2**63), None]
FLOATS = [0.0, 1e-9, 12.75, None, 86_400.000001]
TEXTS = ["", "NULL", 'a "quoted", {braced} \\n text', "two\nlines\t\x7f", "ş İ 漢字 👩‍👩‍👧"]
TIMES = [
    datetime(2026, 11, 29, 7, 53, 32, 789_881, UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    None,
    datetime(1970, 1, 1, tzinfo=UTC),
]
IDS = [UUID(int=0), UUID(int=2**128 - 1), None, UUID(int=1), UUID(int=2)]
STATES = [State.SENT, State.PENDING, State.FAILED, None, State.UNCERTAIN]


async def test_every_kind_of_value_arrives_as_it_was(pool: Pool) -> None:
    query = rows_of(n="bigint", f="float8", t="text", at="timestamptz", id="uuid", state="text")
    columns: list[list[object]] = [[*NUMBERS], [*FLOATS], [*TEXTS], [*TIMES], [*IDS], [*STATES]]
    rows = await pool.fetch(query, *[column(values) for values in columns])
    assert [tuple(row) for row in rows] == list(zip(*columns, strict=True))


def test_what_is_no_unicode_is_refused_as_a_value() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        column(["fine", "half \ud83d"])
