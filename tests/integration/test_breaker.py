"""The lane pauses itself when its target fails, and goes on by itself: over the real tables, with several replicas."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from tests.integration.rows import LANE, PACE, put, states, until, until_true
from tests.integration.test_delivery import Cluster, cluster, nothing_in_flight

from dispatcher.channels.contract import Delivered, Outcome, Rejected, Retry
from dispatcher.delivery import pace, schedule
from dispatcher.delivery.lane import Terms
from dispatcher.delivery.pace import Probing, Schedule, Tick
from dispatcher.delivery.state import scheduler_model
from dispatcher.delivery.target import TargetWatch
from dispatcher.kernel.clock import unix_time
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background
from dispatcher.lanes import webhook_terms
from dispatcher.live_config.model import LiveConfig

DOWN = Retry("connection refused", target_failed=True)
PROBING = Probing("here", timedelta(seconds=2), timedelta(seconds=5))
PATIENT = replace(PACE, interval=timedelta(milliseconds=100), probing=PROBING)


def terms(limit: int = 3) -> Terms:
    config = LiveConfig(webhook_url="http://unused/", breaker_failures=limit)
    return replace(webhook_terms(config), pace=PATIENT)


async def row(pool: Pool) -> Schedule:
    return (await schedule.look(pool, LANE)).schedule


async def due_tick(pool: Pool) -> Tick:
    """The next tick, however far away it is."""
    await pool.execute(
        "UPDATE schedules SET anchor_at = clock_timestamp() - (next_no - anchor_no) * tick_interval, "
        "last_at = clock_timestamp() - interval '1 h'"
    )
    tick = await schedule.claim_tick(pool, await schedule.look(pool, LANE), replica="r")
    assert tick is not None
    return tick


@pytest.fixture
async def watch(pool: Pool) -> AsyncIterator[TargetWatch]:
    """Over a schedule that has just begun."""
    await schedule.create(pool, LANE, PATIENT, None)
    running = TargetWatch(pool, LANE)
    async with background("target watch", running.run):
        yield running


async def hears(watch: TargetWatch, tick: Tick, *outcomes: Outcome, limit: int = 3) -> bool:
    """Whether it tripped at the last one; returns when that is written."""
    tripped = [watch.heard(outcome, tick, terms(limit)) for outcome in outcomes]
    assert not any(tripped[:-1])
    await until(lambda: not watch.undecided)
    return tripped[-1]


async def test_a_run_of_failures_pauses_the_lane_and_an_answered_probe_ends_it(
    pool: Pool, watch: TargetWatch
) -> None:
    tick = await due_tick(pool)
    assert not await hears(watch, tick, DOWN, DOWN)
    assert (await row(pool)).probes == 0
    assert await hears(watch, tick, DOWN)
    seen = await schedule.look(pool, LANE)
    assert seen.schedule.probes == 1
    assert 0 < seen.due_in <= 2
    assert (scheduler_model(seen).target_paused, scheduler_model(seen).probes) == (True, 0)

    probe = await due_tick(pool)
    assert (probe.probe, probe.rate_limit) == (True, 1)
    assert await pool.fetchval("SELECT rate_limit FROM ticks WHERE no = $1", probe.no) == 1
    seen = await schedule.look(pool, LANE)
    assert 2 < seen.due_in <= 4, "the next probe is put off before anybody can die in this one"
    assert not await hears(watch, probe, DOWN)
    assert (await row(pool)).probes == 2

    assert not await hears(watch, await due_tick(pool), Delivered(unix_time(), status=202))
    seen = await schedule.look(pool, LANE)
    assert (seen.schedule.probes, scheduler_model(seen).target_paused) == (0, False)
    assert seen.due_in <= 0.1


@pytest.mark.parametrize("answer", [Retry("429", status=429), Rejected("404", status=404)])
async def test_a_probe_that_is_answered_in_any_way_ends_the_pause(
    pool: Pool, watch: TargetWatch, answer: Outcome
) -> None:
    assert await hears(watch, await due_tick(pool), DOWN, DOWN, DOWN)
    assert not await hears(watch, await due_tick(pool), answer)
    assert (await row(pool)).probes == 0


async def test_what_is_learnt_of_an_earlier_time_pauses_nothing(pool: Pool, watch: TargetWatch) -> None:
    """A replica that hung in its attempts tells of them when the target has long been back, or is another one."""
    old = await due_tick(pool)
    assert await hears(watch, old, DOWN, DOWN, DOWN)
    await schedule.change(pool, LANE, lambda row, now: pace.recover(row, "here", now))
    back = await row(pool)
    other = TargetWatch(pool, LANE)
    async with background("target watch", other.run):
        assert await hears(other, old, DOWN, DOWN, DOWN)
        assert await row(pool) == back

        tick = await due_tick(pool)
        there = replace(PATIENT, probing=replace(PROBING, target="there"))
        await schedule.change(pool, LANE, lambda row, now: pace.retune(row, there, row.origin, now))
        assert await hears(other, tick, DOWN, DOWN, DOWN)
        assert (await row(pool)).probes == 0


async def test_several_replicas_that_trip_at_once_pause_once(pool: Pool, watch: TargetWatch) -> None:
    tick = await due_tick(pool)
    others = [TargetWatch(pool, LANE) for _ in range(4)]
    async with AsyncExitStack() as stack:
        for other in others:
            await stack.enter_async_context(background("target watch", other.run))
        before = (await row(pool)).version
        assert (
            await asyncio.gather(*(hears(each, tick, DOWN, DOWN, DOWN) for each in (watch, *others)))
            == [True] * 5
        )
    after = await row(pool)
    assert (after.probes, after.version) == (1, before + 1)


async def test_zero_failures_never_pause(pool: Pool, watch: TargetWatch) -> None:
    tick = await due_tick(pool)
    off = replace(terms(0), pace=webhook_terms(LiveConfig(webhook_url="http://x/", breaker_failures=0)).pace)
    assert not any(watch.heard(DOWN, tick, off) for _ in range(100))
    assert not watch.undecided


async def spent(pool: Pool) -> int:
    made: int = await pool.fetchval("SELECT coalesce(sum(attempt_count), 0) FROM messages")
    return made


def failing(service: Cluster, count: int, outcome: Outcome = DOWN) -> Callable[[], None]:
    """Every message fails; the answer ends that."""
    service.channel.outcomes = {f"message {n}": outcome for n in range(1, count + 1)}
    return service.channel.outcomes.clear


async def paused(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT probes > 0 FROM schedules"))


@pytest.mark.parametrize("replicas", [1, 3])
async def test_attempts_are_not_burnt_while_the_target_is_away_and_all_are_sent_after(
    pool: Pool, redis_url: str, replicas: int
) -> None:
    ids = await put(pool, 400)
    service = cluster(
        pool,
        redis_url,
        rate_limit=100,
        webhook_concurrency=2,
        max_attempts=3,
        breaker_failures=5,
        breaker_base=0.2,
        breaker_cap=0.4,
    )
    comes_back = failing(service, 400)

    async def probed_three_times() -> bool:
        return bool(await pool.fetchval("SELECT probes > 3 FROM schedules"))

    async with AsyncExitStack() as stack:
        for n in range(replicas):
            await stack.enter_async_context(service.replica(f"r{n}"))
        await until_true(probed_three_times)
        probes = await pool.fetchval("SELECT count(*) FROM ticks WHERE rate_limit = 1")
        most = (
            replicas * (5 + 1) + probes + 1
        )  # those under way at the trip, and a probe that has begun since
        assert await spent(pool) <= most
        assert await pool.fetchval("SELECT max(attempt_count) FROM messages") <= 3
        comes_back()
        await until_true(service.all_settled)
    assert await states(pool) == {"sent": 400}
    assert not await paused(pool)
    assert {envelope.message_id for envelope in service.channel.envelopes} == set(ids)
    ticks = await pool.fetch("SELECT due_at, rate_limit, claimed FROM ticks ORDER BY no")
    assert all(tick["claimed"] <= tick["rate_limit"] for tick in ticks)
    distances = [after["due_at"] - before["due_at"] for before, after in pairwise(ticks)]
    assert min(distances) >= timedelta(milliseconds=100), "also over a pause"


async def test_what_was_claimed_and_not_begun_is_given_back_with_its_attempt(
    pool: Pool, redis_url: str
) -> None:
    await put(pool, 50)
    service = cluster(
        pool,
        redis_url,
        rate_limit=50,
        webhook_concurrency=4,
        scheduler_interval=60,
        breaker_failures=4,
        breaker_base=60,
        backoff_base=60,
    )
    failing(service, 50)
    async with service.replica("a"):
        await until_true(lambda: paused(pool))
        await until_true(lambda: nothing_in_flight(pool))
        assert len(service.channel.envelopes) < 12
        assert await spent(pool) == len(service.channel.envelopes)
        assert await states(pool) == {"pending": 50}


async def test_a_replica_that_has_yet_to_write_the_pause_claims_no_tick(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(pool, 50)
    service = cluster(pool, redis_url, webhook_concurrency=1, breaker_failures=3)
    comes_back = failing(service, 50)
    may_write, write = asyncio.Event(), TargetWatch.run

    async def write_late(watch: TargetWatch) -> None:
        await may_write.wait()
        await write(watch)

    monkeypatch.setattr(TargetWatch, "run", write_late)

    async def five_more_would_be_due() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT clock_timestamp() > max(due_at) + interval '0.6 s' FROM ticks WHERE claimed > 0"
            )
        )

    async with service.replica("a"):
        await until_true(five_more_would_be_due)
        assert len(service.channel.envelopes) == 3
        assert not await paused(pool)
        may_write.set()
        await until_true(lambda: paused(pool))
        comes_back()
        await until_true(service.all_settled)
    assert await states(pool) == {"sent": 50}


async def test_another_target_ends_the_pause_at_once(pool: Pool, redis_url: str) -> None:
    await put(pool, 10)
    service = cluster(pool, redis_url, breaker_failures=3, breaker_base=3600, breaker_cap=3600)
    comes_back = failing(service, 10)
    async with service.replica("a"):
        await until_true(lambda: paused(pool))
        comes_back()
        service.retune(rate_limit=4)
        await until_true(lambda: tuned(pool, 4))
        assert await paused(pool), "another change ends no pause"
        service.retune(webhook_url="http://elsewhere/")
        await until_true(service.all_settled)
    assert await states(pool) == {"sent": 10}


async def tuned(pool: Pool, rate_limit: int) -> bool:
    return (await row(pool)).pace.rate_limit == rate_limit
