"""Ticks missed while nothing runs: made up at the next start, at most as many as the queue holds."""

import asyncio
from datetime import datetime
from itertools import pairwise

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Receiver
from tests.acceptance.replica import eventually

INTERVAL = 0.1
MISSED = 50
SMALL = 20


@pytest.mark.parametrize("capacity", [SMALL, 1000])
async def test_missed_ticks_are_made_up_as_far_as_the_queue_holds(
    cluster: Cluster, receiver: Receiver, capacity: int
) -> None:
    await cluster.configure(
        rate_limit=2,
        scheduler_interval=INTERVAL,
        scheduler_queue_capacity=capacity,
        webhook_url=receiver.url,
    )
    replicas = await cluster.start(2)

    async def ticked() -> bool:
        return bool(await cluster.pool.fetchval("SELECT max(no) >= 3 FROM ticks"))

    await eventually(ticked, seconds=10, what="it ticks")
    assert await asyncio.gather(*(replica.terminate() for replica in replicas)) == [0, 0]
    ids = await cluster.insert(1000)
    before = await cluster.pool.fetchrow("SELECT * FROM schedules WHERE lane = 'webhook'")
    assert before is not None

    def due_at(no: int) -> datetime:
        at: datetime = before["anchor_at"] + (no - before["anchor_no"]) * before["tick_interval"]
        return at

    await cluster.passes(due_at(before["next_no"]), after=MISSED * INTERVAL)
    await replicas[0].start()

    async def caught_up() -> bool:
        return bool((await replicas[0].health())["scheduler"]["ticks_waiting"] == 0)

    await eventually(caught_up, seconds=20, what="the backlog is worked off")
    rows = await cluster.pool.fetch(
        "SELECT * FROM ticks WHERE no >= $1 AND finished_at IS NOT NULL ORDER BY no", before["next_no"]
    )
    first = rows[0]
    assert first["no"] - before["next_no"] == first["dropped"]
    assert first["waiting"] + first["dropped"] >= MISSED
    for earlier, later in pairwise(rows):
        assert later["no"] == earlier["no"] + 1 + later["dropped"], (
            "every tick is claimed, or counted as dropped"
        )
    for row in rows:
        assert row["due_at"] == due_at(row["no"])
        assert row["waiting"] <= capacity
        assert row["claimed"] == 2
    overdue = [row for row in rows if row["due_at"] <= first["claimed_at"]]
    dropped = sum(row["dropped"] for row in rows)
    assert (await replicas[0].health())["scheduler"]["ticks_dropped"] >= dropped
    if capacity == SMALL:
        assert first["waiting"] == SMALL
        assert len(overdue) <= SMALL + 1  # one more may fall due while the first is claimed
        assert replicas[0].said("ticks_dropped")[0]["dispatcher"]["dropped"] == first["dropped"]
    else:
        assert dropped == 0
        assert len(overdue) >= MISSED
    assert receiver.repeated == {}
    assert set(receiver.times) <= set(ids)
