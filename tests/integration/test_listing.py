"""Lists: walking a cursor meets every message exactly once, in order, also while new ones arrive."""

from datetime import datetime

import asyncpg
import pytest
from tests.integration.rows import LANE

from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.cursor import Cursor
from dispatcher.messages.listing import list_messages
from dispatcher.messages.matching import Filter
from dispatcher.messages.state import State

COUNT = 2500
PAGE = 499


async def put_in(pool: Pool, state: State, count: int, *, age: str = "0") -> set[int]:
    """Rows of one state; twenty share each moment, as messages that are settled or inserted together do."""
    rows = await pool.fetch(
        """
        INSERT INTO messages (recipient_phone, content, priority, state, sent_status, sent_at, held_at, deliver_at,
                              lease_id, leased_until)
        SELECT CASE n % 3 WHEN 0 THEN 'b' ELSE 'a' END, 'content', n % 3, $1, $1 = 'sent',
               CASE $1 WHEN 'sent' THEN moment END,
               CASE WHEN $1 IN ('failed', 'uncertain', 'cancelled') AND n % 2 = 0 THEN moment END, moment,
               CASE $1 WHEN 'sending' THEN gen_random_uuid() END, CASE $1 WHEN 'sending' THEN now() END
        FROM generate_series(1, $2::int) n, LATERAL (SELECT now() - $3::text::interval - n / 20 * interval '1 ms') m (moment)
        RETURNING id
        """,
        str(state),
        count,
        age,
    )
    return {row["id"] for row in rows}


def key(state: State, row: asyncpg.Record) -> tuple[datetime, int]:
    if state is State.SENT:
        return row["sent_at"], row["id"]
    if state in {State.PENDING, State.SENDING}:
        return row["deliver_at"], row["id"]
    return row["at"], row["id"]


async def walk(pool: Pool, state: State, *, meanwhile: bool = False) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = []
    cursor: Cursor | None = None
    while True:
        rows, cursor = await list_messages(pool, state, Filter(LANE), limit=PAGE, after=cursor)
        found += rows
        if cursor is None:
            return found
        assert len(rows) == PAGE
        cursor = Cursor.parse(str(cursor))
        if meanwhile:
            await put_in(pool, state, 7)


@pytest.mark.parametrize("state", list(State))
async def test_every_message_once_and_in_order(pool: Pool, state: State) -> None:
    ids = await put_in(pool, state, COUNT)
    other = State.FAILED if state is not State.FAILED else State.UNCERTAIN
    await put_in(pool, other, 50)
    rows = await walk(pool, state)
    assert {row["id"] for row in rows} == ids
    assert len(rows) == COUNT
    keys = [key(state, row) for row in rows]
    assert keys == sorted(keys, reverse=state not in {State.PENDING, State.SENDING})


@pytest.mark.parametrize("state", [State.SENT, State.PENDING, State.FAILED])
async def test_messages_that_arrive_meanwhile_hide_and_repeat_none(pool: Pool, state: State) -> None:
    ids = await put_in(pool, state, COUNT, age="1 hour")
    found = [row["id"] for row in await walk(pool, state, meanwhile=True)]
    assert len(found) == len(set(found))
    assert ids <= set(found)


async def test_an_exact_page_has_no_next_one(pool: Pool) -> None:
    await put_in(pool, State.SENT, 10)
    rows, cursor = await list_messages(pool, State.SENT, Filter(LANE), limit=10)
    assert (len(rows), cursor) == (10, None)
    rows, cursor = await list_messages(pool, State.SENT, Filter(LANE), limit=9)
    assert len(rows) == 9
    assert cursor is not None
    rows, cursor = await list_messages(pool, State.SENT, Filter(LANE), limit=9, after=cursor)
    assert (len(rows), cursor) == (1, None)
    assert await list_messages(pool, State.SENT, Filter("other"), limit=9) == ([], None)


async def test_offset_skips(pool: Pool) -> None:
    await put_in(pool, State.SENT, 10)
    rows, _ = await list_messages(pool, State.SENT, Filter(LANE), limit=10)
    skipped, cursor = await list_messages(pool, State.SENT, Filter(LANE), limit=3, offset=4)
    assert list(skipped) == list(rows[4:7])
    assert cursor is not None
    assert cursor.id == rows[6]["id"]


async def test_a_cursor_of_another_list_is_refused(pool: Pool) -> None:
    await put_in(pool, State.SENT, 3)
    _, of_sent = await list_messages(pool, State.SENT, Filter(LANE), limit=1)
    assert of_sent is not None
    with pytest.raises(InvalidRequestError, match="another status"):
        await list_messages(pool, State.FAILED, Filter(LANE), limit=1, after=of_sent)
    with pytest.raises(InvalidRequestError, match="another status"):
        await list_messages(
            pool, State.UNCERTAIN, Filter(LANE), limit=1, after=Cursor(1, of_sent.at, State.FAILED)
        )


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("recipient", [None, "a", "nobody"])
async def test_a_filtered_list_is_the_part_of_the_whole_that_matches(
    pool: Pool, state: State, recipient: str | None
) -> None:
    await put_in(pool, state, 900)
    every = await walk(pool, state)
    since, until = sorted((every[250]["at"], every[700]["at"]))
    for bounds in ((None, None), (since, None), (None, until), (since, until)):
        wanted = Filter(LANE, recipient, *bounds)
        expected = [
            row["id"]
            for row in every
            if recipient in {None, row["recipient_phone"]}
            and (bounds[0] is None or row["at"] >= bounds[0])
            and (bounds[1] is None or row["at"] < bounds[1])
        ]
        found: list[int] = []
        cursor: Cursor | None = None
        while True:
            rows, cursor = await list_messages(pool, state, wanted, limit=97, after=cursor)
            found += [row["id"] for row in rows]
            if cursor is None:
                break
        assert found == expected
    assert await list_messages(pool, state, Filter("other", recipient), limit=9) == ([], None)


async def test_a_cursor_of_before_the_filters_span_begins_at_its_start(pool: Pool) -> None:
    await put_in(pool, State.SENT, 60)
    rows, cursor = await list_messages(pool, State.SENT, Filter(LANE), limit=1)
    assert cursor is not None
    later = Filter(LANE, until=rows[0]["at"])
    unbounded, _ = await list_messages(pool, State.SENT, later, limit=60)
    assert (await list_messages(pool, State.SENT, later, limit=60, after=cursor))[0] == unbounded
