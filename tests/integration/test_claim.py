"""Claim: the next due messages of a running lane, each to one claimer."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from tests.integration.rows import LANE, PACE, put, states

from dispatcher.delivery import pace, schedule
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import Pool
from dispatcher.kernel.live import Origin
from dispatcher.messages.claim import ClaimedMessage, claim


async def claim_some(pool: Pool, limit: int, lease_seconds: float = 30.0) -> list[ClaimedMessage]:
    return await claim(pool, LANE, limit=limit, lease_seconds=lease_seconds)


async def test_takes_the_oldest_due_in_order_and_no_more_than_asked(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    late = await put(pool, 3)
    early = await put(pool, 3, due_in=timedelta(minutes=-5))
    assert [m.id for m in await claim_some(pool, 4)] == [*early, late[0]]
    assert [m.id for m in await claim_some(pool, 4)] == late[1:]
    assert await claim_some(pool, 4) == []


async def test_a_claim_carries_the_attempt_and_its_lease(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    (id_,) = await put(pool, 1)
    before = elapsed()
    (message,) = await claim_some(pool, 1, lease_seconds=12.5)
    after = elapsed()
    row = await pool.fetchrow("SELECT *, leased_until - now() AS lease_left FROM messages WHERE id = $1", id_)
    assert row is not None
    assert (row["state"], row["attempt_count"], row["lease_id"]) == ("sending", 1, message.lease.lease_id)
    assert (message.attempt, message.content, message.recipient) == (1, "message 1", "+90555")
    assert before + 12.5 <= message.lease.ends <= after + 12.5
    read_at = elapsed()
    assert message.lease.ends <= read_at + row["lease_left"].total_seconds(), "ours never outlasts Postgres's"


async def test_messages_of_the_future_and_of_other_lanes_wait(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, 2, due_in=timedelta(minutes=1))
    await pool.execute("INSERT INTO messages (recipient_phone, content, lane) VALUES ('a', 'b', 'console')")
    assert await claim_some(pool, 10) == []


async def test_a_plain_insert_is_claimed_at_once(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await pool.execute("INSERT INTO messages (recipient_phone, content) VALUES ('+90555', 'hello')")
    assert [m.content for m in await claim_some(pool, 10)] == ["hello"]


async def test_nothing_is_claimed_without_a_schedule_or_while_stopped_or_blocked(pool: Pool) -> None:
    await put(pool, 2)
    assert await claim_some(pool, 10) == []
    await schedule.create(pool, LANE, PACE, None)
    await schedule.change(pool, LANE, lambda row, _: pace.stop(row))
    assert await claim_some(pool, 10) == []
    await schedule.change(pool, LANE, pace.start)
    blocked = replace(PACE, blocked="no webhook_url")
    later = Origin(0, 1)
    await schedule.change(pool, LANE, lambda row, now: pace.retune(row, blocked, later, now))
    assert await claim(pool, LANE, limit=10, lease_seconds=30, origin=later) == []
    assert await states(pool) == {"pending": 2}


async def test_eight_claimers_share_500_messages_without_overlap(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    ids = await put(pool, 500)

    async def take_all() -> list[int]:
        mine: list[int] = []
        while claimed := await claim_some(pool, 7):
            assert len(claimed) <= 7
            mine += [message.id for message in claimed]
        return mine

    taken = await asyncio.gather(*(take_all() for _ in range(8)))
    # a claimer may come away empty while others hold the rest locked; what it left is still there
    rest = [message.id for message in await claim_some(pool, 500)]
    assert sorted(rest + [id_ for mine in taken for id_ in mine]) == ids
    assert await pool.fetchval("SELECT max(attempt_count) FROM messages") == 1


async def test_rows_that_another_claim_holds_are_passed_over_and_not_waited_for(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    first, second = await put(pool, 2)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", first)
        async with asyncio.timeout(5):
            assert [m.id for m in await claim_some(pool, 2)] == [second]


async def test_a_time_that_python_cannot_hold_is_due_like_any_other(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    for moment in ("-infinity", "0044-03-15 12:00:00+00 BC", "infinity"):
        await pool.execute(
            f"INSERT INTO messages (recipient_phone, content, deliver_at) VALUES ('+90555', $1, '{moment}')",
            moment,
        )
    assert [m.content for m in await claim_some(pool, 10)] == ["-infinity", "0044-03-15 12:00:00+00 BC"]
