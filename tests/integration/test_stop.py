"""/stop means stop: once the change has returned, nothing more is claimed, by anyone."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from tests.integration.rows import LANE, PACE, put, someone_waits_for_a_lock, states, until, until_true

from dispatcher.delivery import pace, schedule
from dispatcher.kernel.db import Pool
from dispatcher.kernel.live import Origin
from dispatcher.messages.claim import CLAIM, claim
from dispatcher.messages.frontier import Frontier


async def stop(pool: Pool) -> None:
    await schedule.change(pool, LANE, lambda row, _: pace.stop(row))


async def test_stop_waits_out_a_claim_that_is_under_way(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, 10)
    async with pool.acquire() as other:
        under_way = other.transaction()
        await under_way.start()
        search = Frontier().search(0.0)
        places = [list(column) for column in zip(*search.beyond, strict=True)]
        arguments = (LANE, 3, uuid4(), timedelta(seconds=30), -1, -1, list(search.order), *places)
        arguments = (*arguments, timedelta(0), False)
        assert len(await other.fetch(CLAIM, *arguments)) == 3
        stopping = asyncio.create_task(stop(pool))
        await until_true(lambda: someone_waits_for_a_lock(pool))
        assert not stopping.done()
        await under_way.commit()
        await stopping
    assert await states(pool) == {"sending": 3, "pending": 7}
    assert await claim(pool, LANE, limit=10, lease_seconds=30) == []


async def test_a_claim_that_had_to_wait_for_stop_sees_the_lane_stopped(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, 10)
    async with pool.acquire() as other:
        stopping = other.transaction()
        await stopping.start()
        await other.execute(
            "UPDATE schedules SET running = false, version = version + 1 WHERE lane = $1", LANE
        )
        claiming = asyncio.create_task(claim(pool, LANE, limit=5, lease_seconds=30))
        await until_true(lambda: someone_waits_for_a_lock(pool))
        await stopping.commit()
    assert await claiming == []
    assert await states(pool) == {"pending": 10}


async def test_after_its_answer_the_claimers_of_all_replicas_come_away_empty(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, 2000)
    claims = [0] * 4
    stopped = False

    async def keep_claiming(mine: int) -> None:
        while True:
            begun_after_stop = stopped
            claimed = await claim(pool, LANE, limit=2, lease_seconds=30)
            assert not (begun_after_stop and claimed)
            claims[mine] += 1

    async with asyncio.TaskGroup() as group:
        claimers = [group.create_task(keep_claiming(n)) for n in range(4)]
        await until(lambda: min(claims) >= 5)
        await stop(pool)
        stopped = True
        answered = await states(pool)
        at_answer = list(claims)
        await until(lambda: all(now > then + 5 for now, then in zip(claims, at_answer, strict=True)))
        assert await states(pool) == answered
        for claimer in claimers:
            claimer.cancel()
    assert answered["pending"] > 0


async def test_a_stream_of_claims_cannot_keep_stop_waiting(pool: Pool) -> None:
    """Row locks alone are no queue: with these claimers /stop took up to fifteen seconds."""
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, 20_000)
    claims = 0
    stopping = False

    async def keep_claiming() -> None:
        nonlocal claims
        while await claim(pool, LANE, limit=50, lease_seconds=30):
            claims += stopping

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(keep_claiming())
        stopping = True
        await stop(pool)
    assert claims < 80, "each claimer comes at most a few times before it waits behind /stop"
    assert (await states(pool))["pending"] > 0


async def test_a_replica_that_knows_less_of_the_live_config_claims_nothing(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, Origin(1, 10))
    await put(pool, 3)
    for origin in (None, Origin(0, 99), Origin(1, 9)):
        assert await claim(pool, LANE, limit=1, lease_seconds=30, origin=origin) == []
    for origin in (Origin(1, 10), Origin(1, 11), Origin(2, 1)):
        assert len(await claim(pool, LANE, limit=1, lease_seconds=30, origin=origin)) == 1
