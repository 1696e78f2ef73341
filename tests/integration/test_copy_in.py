"""COPY: what goes in is what was given, whatever it looks like to COPY, in order, all or none."""

import asyncpg
import pytest

from dispatcher.kernel.db import Pool
from dispatcher.messages.copy_in import copy_in

ODD = [
    "a\tb",
    "a\nb",
    "a\r\nb",
    "\\",
    "\\N",
    "\\.",
    "\\t",
    "ü, \"quoted\" 'text'",
    " ",
    "\x01",
    "plain",
    "🙂",
]


@pytest.mark.parametrize("odd", [*([text] for text in ODD), ODD, ["plain", "text"]])
async def test_texts_arrive_as_they_are(pool: Pool, odd: list[str]) -> None:
    await copy_in(pool, odd, odd[::-1])
    rows = await pool.fetch("SELECT recipient_phone, content, state, lane FROM messages ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (recipient, content, "pending", "webhook") for recipient, content in zip(odd, odd[::-1], strict=True)
    ]


async def test_all_or_none(pool: Pool) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await copy_in(pool, ["+90"] * 3, ["Hi", "Ho", ""])
    assert await pool.fetchval("SELECT count(*) FROM messages") == 0
