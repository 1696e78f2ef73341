"""Lanes at work: what claims, sends and settles one lane's messages, started and stopped in order."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from dispatcher.channels.contract import BatchChannel
from dispatcher.delivery.lane import ChannelPool, Lane
from dispatcher.delivery.publisher import StatePublisher
from dispatcher.delivery.pump import PumpParts
from dispatcher.delivery.settler import Settler
from dispatcher.delivery.target import TargetWatch
from dispatcher.delivery.ticker import Ticker
from dispatcher.delivery.timekeeper import AHEAD_SECONDS, POLL_SECONDS, Timekeeper, TimekeeperParts
from dispatcher.delivery.tuner import Tuner
from dispatcher.kernel.database_clock import DatabaseClock
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.lifecycle import background, draining
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.lanes import open_webhook
from dispatcher.live_config.follow import LiveConfigFollower
from dispatcher.messages.recent import RecentSent


@dataclass(frozen=True, slots=True)
class Shared:
    """What every lane works with."""

    replica: str
    shutdown_seconds: float
    """What an attempt under way gets at the end."""
    follower: LiveConfigFollower
    pool: Pool
    redis: BoundedRedis
    recent: RecentSent


@asynccontextmanager
async def at_a_rate(lane: Lane, shared: Shared) -> AsyncIterator[Ticker]:
    """A lane of ticks at work: results are written until the last attempt has ended."""
    live, pool = shared.follower.live, shared.pool
    async with AsyncExitStack() as stack:
        settler = await stack.enter_async_context(_settling(lane, shared))
        channels = ChannelPool(open_webhook)
        stack.push_async_callback(channels.close)
        publisher = StatePublisher(shared.redis)
        await stack.enter_async_context(background("state publisher", publisher.run))
        target = TargetWatch(pool, lane.name)
        await stack.enter_async_context(background("target watch", target.run))
        parts = PumpParts(lane, live, pool, settler, channels, shared.follower.catch_up, target)
        tuner = Tuner(lane, live, pool, keep=shared.follower.keep)
        ticker = Ticker(parts, publisher, tuner, replica=shared.replica)
        await stack.enter_async_context(_tuned(tuner))
        await stack.enter_async_context(
            draining("ticker", ticker.run, ticker.stop, seconds=shared.shutdown_seconds)
        )
        yield ticker


@asynccontextmanager
async def each_at_its_time(
    lane: Lane,
    channel: BatchChannel,
    clock: DatabaseClock,
    shared: Shared,
    *,
    poll_seconds: float = POLL_SECONDS,
    ahead_seconds: float = AHEAD_SECONDS,
) -> AsyncIterator[Timekeeper]:
    """A lane without ticks at work: results are written until the last attempt has ended."""
    live, pool = shared.follower.live, shared.pool
    async with AsyncExitStack() as stack:
        settler = await stack.enter_async_context(_settling(lane, shared))
        tuner = Tuner(lane, live, pool, keep=shared.follower.keep)
        parts = TimekeeperParts(
            *(lane, live, pool, settler, channel, clock, tuner, shared.follower.catch_up),
            poll_seconds=poll_seconds,
            ahead_seconds=ahead_seconds,
        )
        timekeeper = Timekeeper(parts)
        await stack.enter_async_context(_tuned(tuner))
        await stack.enter_async_context(
            draining("timekeeper", timekeeper.run, timekeeper.stop, seconds=shared.shutdown_seconds)
        )
        yield timekeeper


@asynccontextmanager
async def _settling(lane: Lane, shared: Shared) -> AsyncIterator[Settler]:
    settler = Settler(shared.pool, shared.redis, shared.recent, lane=lane.name, replica=shared.replica)
    async with background(f"{lane.name} settler", settler.run):
        yield settler


@asynccontextmanager
async def _tuned(tuner: Tuner) -> AsyncIterator[None]:
    with suppress(*UNAVAILABLE):  # the loop goes on trying
        await tuner.apply()
    async with background("tuner", tuner.run):
        yield
