"""The schedule's row under many hands: no change is lost, and each tick is claimed once."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.integration.rows import LANE, PACE

from dispatcher.delivery import pace, schedule, ticks
from dispatcher.delivery.pace import Schedule, Tick
from dispatcher.delivery.ticks import KEPT, PRUNE_EVERY, TickCounts
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import UnavailableError
from dispatcher.kernel.live import Origin


async def test_a_new_row_is_due_at_once_and_made_once(pool: Pool) -> None:
    origin = Origin(3, 7)
    await asyncio.gather(*(schedule.create(pool, LANE, PACE, origin) for _ in range(5)))
    seen = await schedule.look(pool, LANE)
    assert (seen.schedule.pace, seen.schedule.origin, seen.schedule.running) == (PACE, origin, True)
    assert (seen.schedule.next_no, seen.schedule.last_at, seen.schedule.version) == (0, None, 0)
    assert -5 < seen.due_in <= 0
    await schedule.create(pool, LANE, replace(PACE, rate_limit=99), None)
    assert (await schedule.look(pool, LANE)).schedule == seen.schedule


async def test_auto_sending_off_makes_a_stopped_row(pool: Pool) -> None:
    await schedule.create(pool, LANE, replace(PACE, auto_sending=False), None)
    assert not (await schedule.look(pool, LANE)).schedule.running


async def test_a_lane_without_a_row_is_unavailable(pool: Pool) -> None:
    with pytest.raises(UnavailableError, match="no schedule yet"):
        await schedule.look(pool, "nowhere")


async def test_every_field_comes_back_as_it_was_written(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    before = (await schedule.look(pool, LANE)).schedule
    wanted = replace(
        before,
        running=False,
        pace=pace.Pace(
            7,
            timedelta(days=1, microseconds=1),
            9,
            auto_sending=False,
            blocked="why",
            probing=pace.Probing("there", timedelta(microseconds=100_001), timedelta(hours=1)),
        ),
        probes=3,
        anchor_at=before.anchor_at + timedelta(microseconds=1),
        anchor_no=5,
        next_no=6,
        last_at=before.anchor_at,
        dropped_ticks=2**40,
        origin=Origin(2, 2**62),
        version=before.version + 1,
    )
    await schedule.change(pool, LANE, lambda _, __: wanted)
    assert (await schedule.look(pool, LANE)).schedule == wanted


async def test_ten_writers_lose_no_change(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)

    def one_more(row: Schedule, _: object) -> Schedule:
        return replace(
            row, pace=replace(row.pace, rate_limit=row.pace.rate_limit + 1), version=row.version + 1
        )

    async def write() -> None:
        for _ in range(10):
            await schedule.change(pool, LANE, one_more)

    await asyncio.gather(*(write() for _ in range(10)))
    after = (await schedule.look(pool, LANE)).schedule
    assert (after.pace.rate_limit, after.version) == (PACE.rate_limit + 100, 100)


async def test_a_change_that_changes_nothing_writes_nothing(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    before = await pool.fetchrow("SELECT *, xmin FROM schedules")
    await schedule.change(pool, LANE, pace.start)
    assert await pool.fetchrow("SELECT *, xmin FROM schedules") == before


async def test_six_replicas_claim_each_tick_once(pool: Pool) -> None:
    fast = replace(PACE, interval=timedelta(milliseconds=100), queue_capacity=1000)
    await schedule.create(pool, LANE, fast, None)
    # fifty ticks of downtime to begin with, so that all six are after the same ticks at once
    await pool.execute("UPDATE schedules SET anchor_at = anchor_at - interval '5 s'")
    anchor = (await schedule.look(pool, LANE)).schedule.anchor_at

    async def keep_claiming(replica: str) -> list[Tick]:
        mine: list[Tick] = []
        while True:
            seen = await schedule.look(pool, LANE)
            if seen.schedule.next_no > 60:
                return mine
            tick = await schedule.claim_tick(pool, seen, replica=replica)
            if tick is not None:
                assert tick.due_at <= seen.now
                mine.append(tick)

    claimed = await asyncio.gather(*(keep_claiming(f"r{n}") for n in range(6)))
    every = sorted((tick for mine in claimed for tick in mine), key=lambda tick: tick.no)
    assert [tick.no for tick in every] == list(range(len(every)))
    assert len(every) >= 61
    assert all(tick.due_at == anchor + tick.no * fast.interval for tick in every)
    assert sum(1 for mine in claimed if mine) > 1, "the ticks were shared"
    rows = await pool.fetch("SELECT * FROM ticks ORDER BY no")
    assert [(row["no"], row["due_at"]) for row in rows] == [(tick.no, tick.due_at) for tick in every]
    by = {tick.no: f"r{n}" for n, mine in enumerate(claimed) for tick in mine}
    assert all(row["replica"] == by[row["no"]] for row in rows)
    assert all(row["claimed_at"] >= row["due_at"] for row in rows)


async def test_a_claim_on_what_was_seen_before_a_stop_fails(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    seen = await schedule.look(pool, LANE)
    await schedule.change(pool, LANE, lambda row, _: pace.stop(row))
    assert await schedule.claim_tick(pool, seen, replica="r") is None
    assert await pool.fetchval("SELECT count(*) FROM ticks") == 0


async def test_missed_ticks_are_bounded_and_the_loss_is_kept(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await pool.execute("UPDATE schedules SET anchor_at = anchor_at - 50 * tick_interval")
    claimed = []
    while (tick := await schedule.claim_tick(pool, await schedule.look(pool, LANE), replica="r")) is not None:
        claimed.append((tick.no, tick.waiting, tick.dropped))
    assert claimed == [(48, 3, 48), (49, 2, 0), (50, 1, 0)]
    assert await pool.fetchval("SELECT dropped_ticks FROM schedules") == 48
    assert await pool.fetchval("SELECT dropped FROM ticks WHERE no = 48") == 48


async def test_the_history_is_bounded(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    last = KEPT + 2 * PRUNE_EVERY
    await pool.execute(
        """
        INSERT INTO ticks (lane, no, due_at, replica, rate_limit, tick_interval, waiting, dropped)
        SELECT $1, n, now(), 'r', 2, '1 s', 1, 0 FROM generate_series(0, $2::int) n
        """,
        LANE,
        last,
    )
    seen = (await schedule.look(pool, LANE)).schedule
    tick = Tick(LANE, last, seen.anchor_at, 2, PACE.interval, 1, 0)
    await ticks.finish(pool, tick, TickCounts(claimed=2, sent=1, retried=1))
    assert await pool.fetchval("SELECT count(*) FROM ticks") == KEPT
    rows = await ticks.recent(pool, LANE, limit=3, before=None)
    assert [row["no"] for row in rows] == [last, last - 1, last - 2]
    assert (rows[0]["claimed"], rows[0]["sent"], rows[0]["retried"], rows[0]["failed"]) == (2, 1, 1, 0)
    assert rows[0]["finished_at"] is not None
    assert [r["no"] for r in await ticks.recent(pool, LANE, limit=2, before=last - 5)] == [last - 6, last - 7]
