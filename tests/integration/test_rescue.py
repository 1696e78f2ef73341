"""Rescue: messages whose sender died mid-send."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from tests.integration.rows import LANE, PACE, put, put_sending, result, states, until_true

from dispatcher.delivery import receipts, schedule
from dispatcher.delivery.rescuer import Rescuer
from dispatcher.kernel.db import Pool
from dispatcher.kernel.live import Live, Snapshot
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.lanes import longest_lease
from dispatcher.live_config.model import LiveConfig
from dispatcher.messages.claim import claim
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.rescue import expired, rescue
from dispatcher.messages.settle import settle
from dispatcher.messages.state import State

PAST = timedelta(seconds=-1)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[BoundedRedis]:
    bounded = BoundedRedis(redis_url, password=None, db=0)
    yield bounded
    await bounded.close()


def rescuer(pool: Pool, redis: BoundedRedis, **config: object) -> Rescuer:
    live = Live(Snapshot(LiveConfig.model_validate(config), None))
    return Rescuer(pool, redis, RecentSent(redis), live, replica="rescuer", longest_lease=longest_lease)


async def test_a_receipt_in_redis_settles_the_message_as_sent(pool: Pool, redis: BoundedRedis) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, 1)
    (message,) = await claim(pool, LANE, limit=1, lease_seconds=30)
    told = result(message, receipt_id="their-id")
    await receipts.keep(redis, [told])  # and here the sender dies, before Postgres heard of it
    await pool.execute("UPDATE messages SET leased_until = now() - interval '1 second'")
    assert await rescuer(pool, redis, on_uncertain="hold").rescue_once() == 1
    row = await pool.fetchrow("SELECT * FROM messages")
    assert row is not None
    assert (row["state"], row["sent_status"], row["receipt_id"]) == ("sent", True, "their-id")
    assert row["sent_at"].timestamp() == pytest.approx(told.sent_at, rel=0, abs=1e-6)
    attempt = await pool.fetchrow("SELECT * FROM attempts")
    assert attempt is not None
    assert (attempt["number"], attempt["outcome"], attempt["replica"]) == (1, "delivered", "rescuer")


@pytest.mark.parametrize(
    ("policy", "attempt", "state"),
    [("retry", 1, "pending"), ("retry", 5, "uncertain"), ("hold", 1, "uncertain")],
)
async def test_without_a_receipt_the_policy_decides(
    pool: Pool, redis: BoundedRedis, policy: str, attempt: int, state: str
) -> None:
    await put_sending(pool, 1, lease=PAST, attempt=attempt)
    assert await rescuer(pool, redis, on_uncertain=policy, max_attempts=5).rescue_once() == 1
    row = await pool.fetchrow("SELECT * FROM messages")
    assert row is not None
    assert (row["state"], row["attempt_count"], row["lease_id"]) == (state, attempt, None)
    assert row["last_error"].startswith("interrupted")
    made = await pool.fetch("SELECT number, outcome FROM attempts")
    assert [tuple(one) for one in made] == [(attempt, "interrupted")]


async def test_a_rescued_message_is_sent_again_as_the_next_attempt(pool: Pool, redis: BoundedRedis) -> None:
    await schedule.create(pool, LANE, PACE, None)
    (id_,) = await put_sending(pool, 1, lease=PAST)
    await rescuer(pool, redis).rescue_once()
    (message,) = await claim(pool, LANE, limit=5, lease_seconds=30)
    assert (message.id, message.attempt) == (id_, 2)
    assert await settle(pool, [result(message)], replica="r") == {id_}
    assert await states(pool) == {"sent": 1}


async def test_leases_that_run_are_left_alone(pool: Pool, redis: BoundedRedis) -> None:
    await put_sending(pool, 3, lease=timedelta(seconds=30))
    assert await rescuer(pool, redis).rescue_once() == 0
    assert await states(pool) == {"sending": 3}


async def test_a_settle_and_a_rescue_never_both_win(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    for _ in range(15):
        await put(pool, 10)
        claimed = await claim(pool, LANE, limit=10, lease_seconds=30)
        await pool.execute(
            "UPDATE messages SET leased_until = now() - interval '1 s' WHERE state = 'sending'"
        )
        leases = (await expired(pool, limit=100)).leases
        settled, rescued = await asyncio.gather(
            settle(pool, [result(message) for message in claimed], replica="holder"),
            rescue(pool, leases, [State.UNCERTAIN] * len(leases), {}, replica="rescuer"),
        )
        assert settled.isdisjoint(rescued)
        assert settled | set(rescued) == {message.id for message in claimed}
    rows = await pool.fetch(
        "SELECT m.state, a.outcome FROM messages m JOIN attempts a ON a.message_id = m.id"
    )
    assert len(rows) == 150, "one attempt each"
    assert {tuple(row) for row in rows} <= {("sent", "delivered"), ("uncertain", "interrupted")}


async def test_two_rescuers_give_each_message_one_verdict(pool: Pool, redis: BoundedRedis) -> None:
    await put_sending(pool, 200, lease=PAST)
    await asyncio.gather(*(rescuer(pool, redis).rescue_once() for _ in range(4)))
    assert await states(pool) == {"pending": 200}
    assert await pool.fetchval("SELECT count(*) FROM attempts") == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b"[null, 5, {}]",
        b"[[ID, 5, 1790000000.25]]",
        b'[[ID, "r", "2026-01-01T00:00:00+00:00"]]',
        b'[[ID, "r", 1e12]]',
        b'[[ID, "r", 1e300]]',
        b'[["ID", "r", 1790000000.25]]',
    ],
)
async def test_garbage_under_a_receipts_key_is_no_receipt(
    pool: Pool, redis: BoundedRedis, redis_url: str, garbage: bytes
) -> None:
    good, bad = await put_sending(pool, 2, lease=PAST)
    lease_id = await pool.fetchval("SELECT lease_id FROM messages WHERE id = $1", bad)
    async with Redis.from_url(redis_url) as connection:
        await connection.rpush(f"dispatcher:receipts:{lease_id}", garbage.replace(b"ID", str(bad).encode()))
    rescues = rescuer(pool, redis)

    async def both_rescued() -> bool:
        await rescues.rescue_once()  # finds nothing to do while Redis is given time to answer
        return await states(pool) == {"pending": 2}

    await until_true(both_rescued)
    assert good != bad


async def test_a_message_that_cannot_be_moved_keeps_no_other_from_its_rescue(
    pool: Pool, redis: BoundedRedis
) -> None:
    first, twin, last = await put_sending(pool, 3, lease=PAST)
    # ids are given by one sequence; somebody who gives one by hand can make a second of it
    await pool.execute("INSERT INTO messages (id, recipient_phone, content) VALUES ($1, '+90555', 'x')", twin)
    with capture_logs() as logs:
        await rescuer(pool, redis).rescue_once()
    assert await pool.fetchval("SELECT array_agg(id) FROM messages_sending") == [twin]
    assert {row["id"] for row in await pool.fetch("SELECT id FROM messages_pending")} == {first, twin, last}
    assert [line["message_id"] for line in logs if line["event"] == "rescue_refused"] == [twin]
