"""Retention: days are made before they begin and dropped when they are too old, and nobody has to wait for it."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from tests.integration.rows import LANE, PACE, put, put_sending, result, states, until_true

from dispatcher.delivery import schedule
from dispatcher.kernel.clock import elapsed, utc_now
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.partitions import LOCK_SECONDS
from dispatcher.messages.claim import ClaimedMessage, claim
from dispatcher.messages.rescue import Receipt, expired, rescue
from dispatcher.messages.retention import (
    DAYS_AHEAD,
    HELD_BATCH,
    KEPT_BY_DAY,
    Day,
    delete_held,
    drop_days,
    last_day,
    make_days,
)
from dispatcher.messages.settle import settle
from dispatcher.messages.state import State

A_WEEK = timedelta(days=7)
LATER = timedelta(seconds=60)


async def today(pool: Pool) -> date:
    day: date = await pool.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    return day


async def parts(pool: Pool) -> set[str]:
    rows = await pool.fetch(
        "SELECT inhrelid::regclass::text AS part FROM pg_inherits WHERE inhparent = ANY ($1::text[]::regclass[])",
        list(KEPT_BY_DAY),
    )
    return {row["part"] for row in rows}


async def drop_all(pool: Pool) -> None:
    for part in await parts(pool):
        await pool.execute(f"DROP TABLE {part}")


async def add_day(pool: Pool, parent: str, day: date) -> str:
    part = Day(parent, day)
    await pool.execute(
        f"CREATE TABLE {part.name} PARTITION OF {parent} "
        f"FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
    )
    return part.name


async def put_sent(pool: Pool, sent_at: datetime) -> int:
    made: int = await pool.fetchval(
        "INSERT INTO messages (recipient_phone, content, state, sent_status, sent_at) "
        "VALUES ('+90555', 'x', 'sent', true, $1) RETURNING id",
        sent_at,
    )
    return made


async def claimed(pool: Pool, count: int) -> list[ClaimedMessage]:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, count)
    return await claim(pool, LANE, limit=count, lease_seconds=30)


async def test_makes_the_days_from_yesterday_to_a_week_ahead_once(pool: Pool) -> None:
    await drop_all(pool)
    assert await last_day(pool) is None
    made = await make_days(pool)
    first = await today(pool) - timedelta(days=1)
    wanted = {Day(p, first + timedelta(days=n)).name for p in KEPT_BY_DAY for n in range(DAYS_AHEAD + 2)}
    assert set(made) == await parts(pool) == wanted
    assert await make_days(pool) == []
    assert await last_day(pool) == first + timedelta(days=DAYS_AHEAD + 1)


async def test_two_at_once_make_each_day_once(pool: Pool, db_url: str) -> None:
    await drop_all(pool)
    async with connected_pool(db_url, application="other", size=2) as other:
        made = await asyncio.gather(*(make_days(which) for which in (pool, other, pool, other)))
    names = [name for each in made for name in each]
    assert len(names) == len(set(names)) == len(KEPT_BY_DAY) * (DAYS_AHEAD + 2)


async def test_a_day_that_was_made_has_what_its_parent_has(pool: Pool) -> None:
    await drop_all(pool)
    await make_days(pool)
    for parent in KEPT_BY_DAY:
        day = Day(parent, await today(pool)).name
        of_parent, of_day = [
            await pool.fetch(
                "SELECT regexp_replace(pg_get_indexdef(indexrelid), '.* USING ', '') AS columns FROM pg_index "
                "WHERE indrelid = $1::text::regclass ORDER BY 1",
                table,
            )
            for table in (parent, day)
        ]
        assert of_parent
        assert of_day == of_parent


async def test_drops_what_is_too_old_and_nothing_else(pool: Pool) -> None:
    now = await today(pool)
    ages = {
        days: [await add_day(pool, p, now - timedelta(days=days)) for p in KEPT_BY_DAY] for days in (7, 8, 30)
    }
    noon = datetime(now.year, now.month, now.day, 12, tzinfo=UTC)
    sent = {days: await put_sent(pool, noon - timedelta(days=days)) for days in ages}
    recent = await put_sent(pool, utc_now())
    foreign = "messages_sent_of_somebody_else"
    await pool.execute(
        f"CREATE TABLE {foreign} PARTITION OF messages_sent FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')"
    )
    before = await parts(pool)

    assert set(await drop_days(pool, keep=A_WEEK)) == {*ages[8], *ages[30]}
    assert before - await parts(pool) == {*ages[8], *ages[30]}
    rows = await pool.fetch("SELECT id FROM messages")
    assert {row["id"] for row in rows} == {sent[7], recent}
    assert await drop_days(pool, keep=A_WEEK) == []


@pytest.mark.alone
async def test_a_long_reader_puts_a_drop_off_and_nobody_waits_longer_than_the_lock(pool: Pool) -> None:
    (message,) = await claimed(pool, 1)
    (old,) = [await add_day(pool, p, await today(pool) - timedelta(days=9)) for p in KEPT_BY_DAY[:1]]
    async with pool.acquire() as reader, reader.transaction():
        await reader.fetchval("SELECT count(*) FROM messages")  # holds its locks until it ends
        dropping = asyncio.create_task(drop_days(pool, keep=A_WEEK))
        await until_true(lambda: waits_for_a_lock(pool))
        began = elapsed()
        assert await settle(pool, [result(message)], replica="r") == {message.id}
        assert elapsed() - began < LOCK_SECONDS + 2
        assert await dropping == []
        assert elapsed() - began < 2 * LOCK_SECONDS + 2
        assert old in await parts(pool)
    assert await drop_days(pool, keep=A_WEEK) == [old], "the next time"
    assert await states(pool) == {"sent": 1}


@pytest.mark.alone
async def test_many_old_days_under_a_long_reader_make_the_others_wait_once(pool: Pool) -> None:
    now = await today(pool)
    old = [await add_day(pool, "messages_sent", now - timedelta(days=days)) for days in range(20, 9, -1)]
    async with pool.acquire() as reader, reader.transaction():
        await reader.fetchval("SELECT count(*) FROM messages")
        began = elapsed()
        assert await drop_days(pool, keep=A_WEEK) == []
        assert elapsed() - began < 2 * LOCK_SECONDS
    assert await drop_days(pool, keep=A_WEEK) == old


async def waits_for_a_lock(pool: Pool) -> bool:
    waiting: int = await pool.fetchval(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    )
    return waiting > 0


async def put_held(pool: Pool, state: str, count: int, *, days_ago: int) -> None:
    await pool.execute(
        "INSERT INTO messages (recipient_phone, content, state, held_at) "
        "SELECT '+90555', 'x', $1, now() - make_interval(days => $2) FROM generate_series(1, $3::int)",
        *(state, days_ago, count),
    )


async def test_what_is_held_goes_in_batches_and_uncertain_stays(pool: Pool) -> None:
    extra = 10
    await put_held(pool, "failed", HELD_BATCH, days_ago=9)
    await put_held(pool, "cancelled", extra, days_ago=8)
    await put_held(pool, "uncertain", 3, days_ago=4000)
    await put_held(pool, "failed", 2, days_ago=6)
    assert await delete_held(pool, keep=A_WEEK) == HELD_BATCH
    assert await states(pool) == {"cancelled": extra, "uncertain": 3, "failed": 2}, "the oldest go first"
    assert await delete_held(pool, keep=A_WEEK) == extra
    assert await delete_held(pool, keep=A_WEEK) == 0
    assert await states(pool) == {"uncertain": 3, "failed": 2}


async def test_what_somebody_else_holds_is_deleted_the_next_time(pool: Pool) -> None:
    await put_held(pool, "failed", 2, days_ago=9)
    async with pool.acquire() as other, other.transaction():
        await other.fetch("SELECT FROM messages ORDER BY id LIMIT 1 FOR UPDATE")
        assert await delete_held(pool, keep=A_WEEK) == 1
    assert await delete_held(pool, keep=A_WEEK) == 1


async def test_settling_on_a_day_that_is_missing_makes_it(pool: Pool) -> None:
    messages = await claimed(pool, 3)
    await drop_all(pool)
    ends = (State.SENT, State.PENDING, State.FAILED)
    results = [result(message, state) for message, state in zip(messages, ends, strict=True)]
    assert await settle(pool, results, replica="r") == {message.id for message in messages}
    assert await states(pool) == {"sent": 1, "pending": 1, "failed": 1}
    assert await pool.fetchval("SELECT count(*) FROM attempts") == 3
    assert len(await parts(pool)) == len(KEPT_BY_DAY) * (DAYS_AHEAD + 2)


async def test_rescuing_on_a_day_that_is_missing_makes_it(pool: Pool) -> None:
    sent, again = await put_sending(pool, 2, lease=-LATER)
    await drop_all(pool)
    leases = (await expired(pool, limit=10)).leases
    verdicts = [State.SENT if lease.message_id == sent else State.PENDING for lease in leases]
    receipts = {sent: Receipt(utc_now(), "theirs")}
    rescued = await rescue(pool, leases, verdicts, receipts, replica="r")
    assert rescued == {sent: State.SENT, again: State.PENDING}
    assert await states(pool) == {"sent": 1, "pending": 1}
    assert await pool.fetchval("SELECT count(*) FROM attempts") == 2


async def test_a_row_that_the_table_refuses_is_not_taken_for_a_missing_day(pool: Pool) -> None:
    (message,) = await claimed(pool, 1)
    await drop_all(pool)
    await make_days(pool)
    there = await parts(pool)
    missing = min(there)
    await pool.execute(f"DROP TABLE {missing}")
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await settle(pool, [result(message, outcome="no such outcome")], replica="r")
    assert caught.value.constraint_name == "attempts_outcome"
    assert await parts(pool) == there - {missing}, "it did not even try"
    assert await states(pool) == {"sending": 1}


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_sender_whose_clock_is_years_wrong_settles(pool: Pool, years: int) -> None:
    (message,) = await claimed(pool, 1)
    wrong = utc_now() + timedelta(days=365 * years)
    told = result(message, sent_at=wrong.timestamp(), started_at=wrong.timestamp())
    assert await settle(pool, [told], replica="r") == {message.id}
    row = await pool.fetchrow("SELECT *, now() - sent_at AS ago FROM messages")
    assert row is not None
    assert row["state"] == "sent"
    assert timedelta(0) <= row["ago"] <= timedelta(days=1) + LATER
    assert await pool.fetchval("SELECT started_at FROM attempts") == wrong, "what it said is kept"


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_receipt_whose_time_is_years_wrong_rescues(pool: Pool, years: int) -> None:
    (id_,) = await put_sending(pool, 1, lease=-LATER)
    leases = (await expired(pool, limit=1)).leases
    receipt = Receipt(utc_now() + timedelta(days=365 * years), "theirs")
    assert await rescue(pool, leases, [State.SENT], {id_: receipt}, replica="r") == {id_: State.SENT}
    ago = await pool.fetchval("SELECT now() - sent_at FROM messages WHERE state = 'sent'")
    assert timedelta(0) <= ago <= timedelta(days=1) + LATER
