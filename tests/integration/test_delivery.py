"""From a due tick to a settled message, with a channel that keeps what it delivered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.integration.rows import LANE, put, states, until, until_true

from dispatcher.channels.contract import Delivered, Envelope, Outcome, Rejected, Retry
from dispatcher.delivery import pace, schedule
from dispatcher.delivery.lane import ChannelPool, Lane
from dispatcher.delivery.publisher import StatePublisher
from dispatcher.delivery.pump import PumpParts
from dispatcher.delivery.settler import Settler
from dispatcher.delivery.target import TargetWatch
from dispatcher.delivery.ticker import Ticker
from dispatcher.delivery.tuner import Tuner
from dispatcher.kernel.clock import unix_time, wait_for
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background, draining
from dispatcher.kernel.live import Live, Origin, Snapshot
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.lanes import webhook_terms
from dispatcher.live_config.model import LiveConfig
from dispatcher.messages.recent import RecentSent

BASE = LiveConfig(webhook_url="http://unused/", rate_limit=3, scheduler_interval=0.1, backoff_base=0.01)


class KeepingChannel:
    """Delivers into a list; waits while its gate is closed."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.outcomes: dict[str, Outcome] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def deliver(self, envelope: Envelope, *, seconds: float) -> Outcome:
        self.envelopes.append(envelope)
        async with asyncio.timeout(seconds):
            await self.gate.wait()
        return self.outcomes.get(
            envelope.content, Delivered(unix_time(), receipt_id=f"r-{envelope.message_id}")
        )

    async def close(self) -> None:
        """Nothing to give up."""


class Cluster:
    """Replicas that share a database, a live config and a receiver."""

    def __init__(self, pool: Pool, redis_url: str, config: LiveConfig) -> None:
        self.pool = pool
        self.channel = KeepingChannel()
        self.live = Live(Snapshot(config, Origin(0, 1)))
        self._redis_url = redis_url

    def retune(self, **values: object) -> None:
        origin = self.live.snapshot.origin
        assert origin is not None
        config = LiveConfig.model_validate({**self.live.value.model_dump(), **values})
        self.live.publish(Snapshot(config, Origin(0, origin.revision + 1)))

    @asynccontextmanager
    async def replica(self, name: str) -> AsyncIterator[Ticker]:
        lane = Lane(LANE, webhook_terms)
        redis = BoundedRedis(self._redis_url, password=None, db=0)
        settler = Settler(self.pool, redis, RecentSent(redis), lane=LANE, replica=name)
        target = TargetWatch(self.pool, LANE)
        channels = ChannelPool(lambda _: self.channel)
        parts = PumpParts(lane, self.live, self.pool, settler, channels, self.nothing, target)
        publisher = StatePublisher(redis)
        tuner = Tuner(lane, self.live, self.pool, keep=self.nothing)
        ticker = Ticker(parts, publisher, tuner, replica=name)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(redis.close)
            await stack.enter_async_context(background("settler", settler.run))
            await stack.enter_async_context(background("publisher", publisher.run))
            await stack.enter_async_context(background("target watch", target.run))
            await stack.enter_async_context(background("tuner", tuner.run))
            await stack.enter_async_context(draining("ticker", ticker.run, ticker.stop, seconds=10))
            yield ticker

    async def nothing(self) -> None:
        """Nothing is to be kept or caught up with: all replicas here have the same live config at once."""

    async def all_settled(self) -> bool:
        return not {"pending", "sending"} & set(await states(self.pool))


def cluster(pool: Pool, redis_url: str, **values: object) -> Cluster:
    return Cluster(pool, redis_url, LiveConfig.model_validate({**BASE.model_dump(), **values}))


async def sent_per_tick(pool: Pool) -> dict[int, int]:
    rows = await pool.fetch("SELECT tick_no, count(*) AS n FROM attempts GROUP BY tick_no ORDER BY tick_no")
    return {row["tick_no"]: row["n"] for row in rows}


async def assert_ticks_on_the_grid(pool: Pool, interval: timedelta) -> None:
    rows = await pool.fetch("SELECT no, due_at FROM ticks ORDER BY no")
    assert [row["no"] for row in rows] == list(range(len(rows)))
    assert all(row["due_at"] == rows[0]["due_at"] + row["no"] * interval for row in rows)


async def test_each_tick_sends_exactly_its_rate(pool: Pool, redis_url: str) -> None:
    ids = await put(pool, 20)
    service = cluster(pool, redis_url)
    async with service.replica("a"):
        await until_true(service.all_settled)
    assert [envelope.message_id for envelope in service.channel.envelopes] == ids
    assert list((await sent_per_tick(pool)).values()) == [3, 3, 3, 3, 3, 3, 2]
    await assert_ticks_on_the_grid(pool, timedelta(milliseconds=100))
    ticks = await pool.fetch("SELECT claimed, sent FROM ticks WHERE claimed > 0 ORDER BY no")
    assert [tuple(row) for row in ticks] == [(3, 3)] * 6 + [(2, 2)]
    row = await pool.fetchrow("SELECT state, receipt_id FROM messages WHERE id = $1", ids[0])
    assert tuple(row or ()) == ("sent", f"r-{ids[0]}")


async def test_a_tick_sends_more_than_its_workers_at_once(pool: Pool, redis_url: str) -> None:
    await put(pool, 700)
    service = cluster(pool, redis_url, rate_limit=500, webhook_concurrency=8, scheduler_interval=1)
    async with service.replica("a"):
        await until_true(service.all_settled)
    assert list((await sent_per_tick(pool)).values()) == [500, 200]


@pytest.mark.parametrize("replicas", [2, 4])
async def test_replicas_share_the_ticks_and_never_exceed_the_rate(
    pool: Pool, redis_url: str, replicas: int
) -> None:
    ids = await put(pool, 60)
    service = cluster(pool, redis_url, rate_limit=4)
    async with AsyncExitStack() as stack:
        for n in range(replicas):
            await stack.enter_async_context(service.replica(f"r{n}"))
        await until_true(service.all_settled)
    assert Counter(envelope.message_id for envelope in service.channel.envelopes) == Counter(ids)
    counts = list((await sent_per_tick(pool)).values())
    assert max(counts) <= 4
    assert sum(counts) == 60
    await assert_ticks_on_the_grid(pool, timedelta(milliseconds=100))


async def test_retries_spend_the_same_budget_and_failures_end(pool: Pool, redis_url: str) -> None:
    await put(pool, 6)
    service = cluster(pool, redis_url, max_attempts=3)
    service.channel.outcomes = {
        "message 1": Retry("busy", status=503),
        "message 2": Rejected("not found", status=404),
    }
    async with service.replica("a"):
        await until_true(service.all_settled)
    assert await states(pool) == {"sent": 4, "failed": 2}
    tried = Counter(envelope.content for envelope in service.channel.envelopes)
    assert (tried["message 1"], tried["message 2"], tried["message 3"]) == (3, 1, 1)
    first = [e for e in service.channel.envelopes if e.content == "message 1"]
    assert [envelope.attempt for envelope in first] == [1, 2, 3]
    assert len({envelope.message_id for envelope in first}) == 1
    assert max((await sent_per_tick(pool)).values()) <= 3


async def test_an_orderly_stop_releases_what_was_not_begun(pool: Pool, redis_url: str) -> None:
    ids = await put(pool, 20)
    service = cluster(pool, redis_url, rate_limit=20, webhook_concurrency=2, scheduler_interval=60)
    service.channel.gate.clear()

    async def claimed_ahead() -> bool:
        return (await states(pool)).get("sending", 0) > 2

    async with service.replica("a") as ticker:
        await until(lambda: len(service.channel.envelopes) == 2)
        await until_true(claimed_ahead)
        ticker.stop()
        service.channel.gate.set()
    assert [envelope.message_id for envelope in service.channel.envelopes] == ids[:2]
    assert await states(pool) == {"sent": 2, "pending": 18}
    left = await pool.fetch("SELECT DISTINCT attempt_count, lease_id FROM messages WHERE state = 'pending'")
    assert [tuple(row) for row in left] == [(0, None)]
    assert await pool.fetchval("SELECT claimed > 2 AND sent = 2 FROM ticks WHERE finished_at IS NOT NULL")


async def test_a_new_rate_and_interval_take_effect_while_it_runs(pool: Pool, redis_url: str) -> None:
    await put(pool, 2)
    service = cluster(pool, redis_url, rate_limit=1, scheduler_interval=3600)
    async with service.replica("a"):
        await until(lambda: len(service.channel.envelopes) == 1)
        service.retune(rate_limit=5, scheduler_interval=0.1)
        await until_true(service.all_settled)
        await put(pool, 10)
        await until_true(service.all_settled)
    counts = list((await sent_per_tick(pool)).values())
    assert counts[:2] == [1, 1]
    assert max(counts) <= 5
    assert sum(counts) == 12


async def test_blocked_until_there_is_an_address(pool: Pool, redis_url: str) -> None:
    await put(pool, 1)
    service = cluster(pool, redis_url, webhook_url=None)

    async def row_is_there() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM schedules WHERE blocked IS NOT NULL"))

    async with service.replica("a"):
        await until_true(row_is_there)
        assert await pool.fetchval("SELECT count(*) FROM ticks") == 0
        service.retune(webhook_url="http://unused/")
        await until_true(service.all_settled)
    assert await states(pool) == {"sent": 1}


async def test_stop_on_one_and_start_on_another(pool: Pool, redis_url: str) -> None:
    await put(pool, 300)
    service = cluster(pool, redis_url)
    async with service.replica("a"), service.replica("b") as other:
        await until(lambda: len(service.channel.envelopes) >= 6)
        await schedule.change(pool, LANE, lambda row, _: pace.stop(row))
        last = await pool.fetchval("SELECT max(no) FROM ticks")
        await until_true(lambda: nothing_in_flight(pool))
        sent = len(service.channel.envelopes)
        assert await pool.fetchval("SELECT count(*) FROM messages WHERE state = 'pending'") == 300 - sent
        assert await pool.fetchval("SELECT max(no) FROM ticks") == last
        await schedule.change(pool, LANE, pace.start)
        other.wake()
        await until(lambda: len(service.channel.envelopes) > sent)


async def nothing_in_flight(pool: Pool) -> bool:
    return "sending" not in await states(pool)


async def test_live_config_takes_effect_while_a_tick_is_worked_off(pool: Pool, redis_url: str) -> None:
    await put(pool, 500)
    service = cluster(pool, redis_url, rate_limit=500, webhook_concurrency=2, scheduler_interval=60)
    service.channel.gate.clear()

    async def stopped() -> bool:
        return not (await schedule.look(pool, LANE)).schedule.running

    async with service.replica("a"):
        await until(lambda: len(service.channel.envelopes) == 2)
        service.retune(auto_sending=False)
        await until_true(stopped)
        service.channel.gate.set()
        await until_true(lambda: nothing_in_flight(pool))
    assert len(service.channel.envelopes) < 20, "only what had been claimed was sent"


async def test_without_an_address_nothing_more_of_a_tick_is_claimed(pool: Pool, redis_url: str) -> None:
    await put(pool, 500)
    service = cluster(pool, redis_url, rate_limit=500, webhook_concurrency=2, scheduler_interval=60)
    service.channel.gate.clear()
    async with service.replica("a"):
        await until(lambda: len(service.channel.envelopes) == 2)
        service.retune(webhook_url=None)
        service.channel.gate.set()
        await until_true(lambda: nothing_in_flight(pool))
    assert len(service.channel.envelopes) < 20
    assert await pool.fetchval("SELECT max(attempt_count) FROM messages WHERE state = 'pending'") == 0


async def test_a_bug_that_one_message_meets_ends_no_other_attempt(pool: Pool, redis_url: str) -> None:
    ids = await put(pool, 40)

    class BuggyChannel(KeepingChannel):
        async def deliver(self, envelope: Envelope, *, seconds: float) -> Outcome:
            if envelope.message_id == ids[20]:
                raise ValueError("a bug")
            return await super().deliver(envelope, seconds=seconds)

    service = cluster(pool, redis_url, rate_limit=10)
    service.channel = BuggyChannel()

    async def others_are_sent() -> bool:
        return await states(pool) == {"sent": 39, "sending": 1}

    async with service.replica("a"):
        await until_true(others_are_sent)
    assert Counter(e.message_id for e in service.channel.envelopes) == Counter(set(ids) - {ids[20]})


async def test_a_schedule_deleted_by_hand_is_made_anew(pool: Pool, redis_url: str) -> None:
    service = cluster(pool, redis_url)
    async with service.replica("a"):
        await until_true(lambda: has_ticked(pool))
        await pool.execute("DELETE FROM schedules")
        await put(pool, 3)
        await until_true(service.all_settled)
    assert await states(pool) == {"sent": 3}


async def has_ticked(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM ticks)"))


async def test_leases_that_ran_short_are_given_back_and_sending_goes_on(pool: Pool, redis_url: str) -> None:
    """A receiver that turns slow after a large claim, or a machine that slept: everything waiting is released."""
    await put(pool, 60)
    service = cluster(
        pool,
        redis_url,
        rate_limit=60,
        webhook_concurrency=4,
        webhook_timeout=1,
        lease_seconds=3,
        max_attempts=1,
    )
    slow = asyncio.Event()

    class TurningSlow(KeepingChannel):
        async def deliver(self, envelope: Envelope, *, seconds: float) -> Outcome:
            if not slow.is_set() and len(self.envelopes) >= 12:
                await wait_for(slow, 0.9)  # four rounds of it are longer than a lease
            return await super().deliver(envelope, seconds=seconds)

    service.channel = TurningSlow()

    async def some_were_released() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT EXISTS (SELECT FROM ticks WHERE finished_at IS NOT NULL AND claimed > sent)"
            )
        )

    async with service.replica("a"):
        await until_true(some_were_released, seconds=20)
        slow.set()
        await until_true(service.all_settled)
    assert await states(pool) == {"sent": 60}
    assert len(service.channel.envelopes) == 60, "what was released had not been sent"


async def test_one_that_could_not_send_makes_up_nothing_when_it_can(pool: Pool, redis_url: str) -> None:
    """The schedule runs, blocked for nobody, but this replica alone is there and has no address."""
    await put(pool, 30)
    service = cluster(pool, redis_url, rate_limit=1, scheduler_interval=0.1, webhook_url=None)
    origin = service.live.snapshot.origin
    open_for_others = replace(webhook_terms(BASE).pace, rate_limit=1, interval=timedelta(seconds=0.1))
    await schedule.create(pool, LANE, open_for_others, origin)

    async def missed_twenty() -> bool:
        return pace.ticks_waiting(*vars_of(await schedule.look(pool, LANE))) >= 20

    async with service.replica("a"):
        await until_true(missed_twenty)
        assert service.channel.envelopes == []
        service.retune(webhook_url="http://unused/")
        await until(lambda: len(service.channel.envelopes) >= 3)
    made_up = await pool.fetchval("SELECT max(waiting) FROM ticks")
    assert made_up < 15


def vars_of(seen: schedule.Look) -> tuple[pace.Schedule, datetime]:
    return seen.schedule, seen.now
