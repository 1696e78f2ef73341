"""Months of chat messages: made ahead once, dropped by age, and a drop waits for nobody for long."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import pytest
from structlog.testing import capture_logs
from tests.integration.chatting import Talk, talking

from dispatcher.chat.history import newest
from dispatcher.chat.months import MONTHS_AHEAD, PARENT, Month, drop_months, keep_months, make_months
from dispatcher.chat.seat import find_seat
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.partitions import LOCK_SECONDS, make_partition, partitions_of, today


@pytest.fixture
async def talk(pool: Pool) -> AsyncIterator[Talk]:
    async with talking(pool, "alice", "bob") as running:
        yield running


async def months(pool: Pool) -> list[str]:
    async with pool.acquire() as connection:
        return sorted(await partitions_of(connection, PARENT))


async def this_month(pool: Pool) -> Month:
    async with pool.acquire() as connection:
        return Month((await today(connection)).replace(day=1))


async def test_the_migration_makes_what_the_service_would(pool: Pool, db_url: str) -> None:
    bounds = """
        SELECT relname, pg_get_expr(relpartbound, oid) AS bounds FROM pg_class
        WHERE relispartition AND relkind = 'r' AND relname LIKE 'chat_messages_%' ORDER BY 1
    """
    by_migration = await pool.fetch(bounds)
    this = await this_month(pool)
    wanted = [this.plus(offset).name for offset in range(-1, MONTHS_AHEAD + 1)]
    assert [row["relname"] for row in by_migration] == wanted
    assert await make_months(pool) == []
    for name in await months(pool):
        await pool.execute(f"DROP TABLE {name}")
    async with connected_pool(db_url, application="other", size=2) as other:
        made = await asyncio.gather(*(make_months(which) for which in (pool, other, pool, other)))
    assert sorted(name for each in made for name in each) == wanted
    assert await pool.fetch(bounds) == by_migration
    indexes = await pool.fetch(
        "SELECT indrelid, regexp_replace(pg_get_indexdef(indexrelid), '.* USING ', '') AS columns FROM pg_index "
        "WHERE indrelid = ANY($1::text[]::regclass[]::oid[])",
        [PARENT, this.name],
    )
    assert len({row["columns"] for row in indexes}) == 3
    assert len(indexes) == 6
    assert not await pool.fetchval(
        "SELECT partdefid <> 0 FROM pg_partitioned_table WHERE partrelid = $1::regclass", PARENT
    )


async def test_months_older_than_what_is_kept_are_dropped_whole(talk: Talk) -> None:
    pool, pair = talk.pool, await talk.pairs.open("alice", "bob")
    this = await this_month(pool)
    old = [this.plus(-n) for n in range(2, 5)]
    async with pool.acquire() as connection:
        for month in old:
            await make_partition(
                connection, PARENT, month.name, begins=month.begins, ends=month.plus(1).begins
            )
            await connection.execute(
                "INSERT INTO chat_messages (conversation_id, id, seq, sender_id, content) VALUES ($1, $2, 1, 'alice', 'x')",
                pair,
                month.begins + 1,
            )
    kept = (await talk.say(pair, "alice")).message
    begins = datetime.combine(old[0].first, datetime.min.time(), UTC)
    now = datetime.combine(
        await pool.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date"), datetime.min.time(), UTC
    )
    assert await drop_months(pool, keep=now - begins) == [old[2].name, old[1].name]
    assert await drop_months(pool, keep=now - begins) == []
    assert await drop_months(pool, keep=timedelta(days=1)) == [
        old[0].name,
        *([this.plus(-1).name] if now.day > 1 else []),
    ]
    seat = await find_seat(pool, pair, "bob")
    assert list((await newest(pool, seat, limit=9)).messages) == [kept]
    assert await drop_months(pool, keep=timedelta(days=1)) == []


async def test_a_month_that_is_not_kept_is_not_made_again(pool: Pool) -> None:
    await keep_months(pool, days=1)
    kept = await months(pool)
    with capture_logs() as logs:
        await keep_months(pool, days=1)
    assert logs == []
    assert await months(pool) == kept


async def test_a_reader_holds_a_drop_up_for_a_moment_only(talk: Talk) -> None:
    pool, old = talk.pool, (await this_month(talk.pool)).plus(-1)
    async with pool.acquire() as reader, reader.transaction():
        await reader.execute(f"SELECT FROM {old.name}")
        began = elapsed()
        assert await drop_months(pool, keep=timedelta(0)) == []
        assert elapsed() - began < LOCK_SECONDS + 2
    assert await drop_months(pool, keep=timedelta(0)) == [old.name]


def test_months_follow_each_other() -> None:
    month = Month(date(2023, 11, 1))
    assert [month.plus(n).name for n in (-11, 0, 1, 2, 14)] == [
        f"chat_messages_{text}" for text in ("202212", "202311", "202312", "202401", "202501")
    ]
    assert Month.of(month.name) == month
    assert Month.of("chat_messages_by_hand") is None
