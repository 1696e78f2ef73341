"""Priorities and the frontier in Postgres: who goes first, who still goes, and what a search costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from tests.integration.rows import LANE, PACE, result

from dispatcher.delivery import schedule
from dispatcher.kernel.db import Connection, Pool
from dispatcher.messages.claim import CLAIM, ClaimedMessage, claim
from dispatcher.messages.frontier import HEAD, TURNS, Frontier, Position, Search
from dispatcher.messages.settle import settle
from dispatcher.messages.state import Priority

DEAD_ROWS = 6000
NEVER_AGAIN = 1e9


@dataclass(slots=True)
class SlowHead(Frontier):
    """A frontier whose first search from the head took so long that it returns there only when told."""

    def searched(
        self,
        search: Search,
        reached: Mapping[int, Position],
        *,
        now: float,
        seconds: float,  # noqa: ARG002 - replaced
    ) -> None:
        Frontier.searched(self, search, reached, now=now, seconds=NEVER_AGAIN)

    def return_to_the_head(self) -> None:
        self._head_again_at = 0.0


async def put(
    pool: "Pool | Connection", priority: Priority, count: int = 1, *, age: float = 1.0
) -> list[int]:
    rows = await pool.fetch(
        "INSERT INTO messages (recipient_phone, content, priority, deliver_at) "
        "SELECT '+90555', 'x', $1, now() - $2::interval FROM generate_series(1, $3::int) RETURNING id",
        *(priority, timedelta(seconds=age), count),
    )
    return [row["id"] for row in rows]


async def take(pool: Pool, limit: int, frontier: Frontier | None = None) -> list[int]:
    return [message.id for message in await take_whole(pool, limit, frontier)]


async def take_whole(pool: Pool, limit: int, frontier: Frontier | None = None) -> list[ClaimedMessage]:
    return await claim(pool, LANE, limit=limit, lease_seconds=30, frontier=frontier)


async def test_high_goes_before_normal_before_low_whatever_is_older(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    low = await put(pool, Priority.LOW, 2, age=300)
    normal = await put(pool, Priority.NORMAL, 2, age=200)
    high = await put(pool, Priority.HIGH, 2, age=100)
    assert await take(pool, 3) == [*high, normal[0]]
    assert await take(pool, 10) == [normal[1], *low]


async def test_a_plain_insert_is_normal(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    (low,), (high,) = await put(pool, Priority.LOW), await put(pool, Priority.HIGH)
    plain = await pool.fetchval(
        "INSERT INTO messages (recipient_phone, content) VALUES ('+90555', 'x') RETURNING id"
    )
    assert await take(pool, 3) == [high, plain, low]


async def test_with_endless_high_the_others_still_go_out_in_their_turns(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    normal = await put(pool, Priority.NORMAL, 30, age=5)
    low = await put(pool, Priority.LOW, 30, age=5)
    frontier, served = Frontier(), []
    for _ in TURNS * 2:
        high = await put(pool, Priority.HIGH, 3)
        got = await take(pool, 2, frontier)
        assert len(got) == 2
        served.append(
            Priority.NORMAL if got[0] in normal else Priority.LOW if got[0] in low else Priority.HIGH
        )
        assert served[-1] is not Priority.HIGH or got[0] <= high[0]
    assert served == [order[0] for order in TURNS * 2]


async def test_a_row_that_came_in_behind_the_frontier_is_claimed_at_the_next_search_from_the_head(
    pool: Pool,
) -> None:
    await schedule.create(pool, LANE, PACE, None)
    frontier = SlowHead()
    async with pool.acquire() as other:
        slow = other.transaction()
        await slow.start()
        (late,) = await put(other, Priority.NORMAL, age=60)
        seen = await put(pool, Priority.NORMAL, 2)
        assert await take(pool, 1, frontier) == seen[:1]
        await slow.commit()
    assert await take(pool, 5, frontier) == seen[1:], "it is behind what was reached"
    assert await take(pool, 5, frontier) == []
    frontier.return_to_the_head()
    assert await take(pool, 5, frontier) == [late]


async def test_a_row_that_was_locked_when_the_frontier_passed_is_claimed_from_the_head(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    frontier = SlowHead()
    first, second = await put(pool, Priority.HIGH, 2)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", first)
        assert await take(pool, 5, frontier) == [second]
    assert await take(pool, 5, frontier) == []
    frontier.return_to_the_head()
    assert await take(pool, 5, frontier) == [first]


async def test_under_an_old_snapshot_a_claim_beyond_the_frontier_does_not_walk_over_the_dead(
    pool: Pool,
) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, Priority.NORMAL, DEAD_ROWS)
    frontier = SlowHead()
    async with pool.acquire() as other, other.transaction(isolation="repeatable_read", readonly=True):
        await other.fetchval("SELECT count(*) FROM messages")  # and keeps its snapshot
        while claimed := await take_whole(pool, 1000, frontier):
            await settle(pool, [result(message) for message in claimed], replica="r")
        await put(pool, Priority.NORMAL, 5, age=0.5)
        await pool.execute("VACUUM messages_pending")
        reached = frontier.search(0.0)
        beyond = await buffers(pool, reached)
        from_head = await buffers(pool, Search(reached.order, (HEAD,) * 3, from_head=True))
    assert from_head > 2 * beyond, "or the dead rows were not in the way, and this tests nothing"
    assert beyond <= 120


async def buffers(pool: Pool, search: Search) -> int:
    """Pages that a claim of five by this search touches; nothing stays claimed."""
    async with pool.acquire() as connection:
        claiming = connection.transaction()
        await claiming.start()
        plan = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {CLAIM}",
            *(LANE, 5, "00000000-0000-0000-0000-000000000001", timedelta(seconds=30), -1, -1),
            [int(priority) for priority in search.order],
            [position[0] for position in search.beyond],
            [position[1] for position in search.beyond],
            timedelta(0),
            False,
        )
        await claiming.rollback()
    top: dict[str, Any] = orjson.loads(plan)[0]["Plan"]
    assert top["Actual Rows"] == 5, "what is due is found either way"
    touched: int = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return touched
