"""Replicas that keep one lane to its times, on a database of their own, with a channel that keeps what it is given."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.integration.rows import until

from dispatcher.channels.contract import BatchChannel, Delivered, Envelope, Outcome
from dispatcher.delivery.rescuer import Rescuer
from dispatcher.delivery.settler import Settler
from dispatcher.delivery.timekeeper import HEAD_SECONDS, POLL_SECONDS, Timekeeper, TimekeeperParts
from dispatcher.delivery.tuner import Tuner
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.database_clock import DatabaseClock
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background, draining
from dispatcher.kernel.live import Live, Origin, Snapshot
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.lanes import CONSOLE, longest_lease
from dispatcher.live_config.model import LiveConfig
from dispatcher.messages.frontier import Frontier, Position, Search
from dispatcher.messages.recent import RecentSent


class KeepingConsole:
    """Prints into a list; waits while its gate is closed, takes nothing while it has a problem."""

    def __init__(self, clock: DatabaseClock) -> None:
        self._clock = clock
        self.problem: str | None = None
        self.printed: list[tuple[Envelope, datetime]] = []
        self.batches: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gave_up = asyncio.Event()
        self.fails_with: list[Outcome | None] = []
        """What it answers for one message after the other, in turn, when it has nothing better."""

    async def deliver_batch(self, envelopes: Sequence[Envelope], *, until: float) -> Sequence[Outcome | None]:
        self.batches.append(len(envelopes))
        waits = [asyncio.create_task(event.wait()) for event in (self.gate, self.gave_up)]
        await asyncio.wait(waits, timeout=max(0, until - elapsed()), return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self.gate.is_set() or until <= elapsed():
            return [None] * len(envelopes)
        if self.fails_with:
            return (self.fails_with * len(envelopes))[: len(envelopes)]
        at = self._clock.now()
        self.printed += [(envelope, at) for envelope in envelopes]
        return [Delivered(at.timestamp()) for _ in envelopes]

    def give_up(self) -> None:
        self.gave_up.set()

    @property
    def ids(self) -> list[int]:
        return [envelope.message_id for envelope, _ in self.printed]

    def late(self) -> list[float]:
        """Seconds from due to printed, of each."""
        return [(at - envelope.due_at).total_seconds() for envelope, at in self.printed if envelope.due_at]


class WatchedFrontier(Frontier):
    """Keeps when it was asked where to search, and how many searches found something to claim."""

    def __init__(self, *, longest_wait_seconds: float = HEAD_SECONDS) -> None:
        super().__init__(longest_wait_seconds=longest_wait_seconds)
        self.looks: list[float] = []
        self.claims = 0

    def search(self, now: float) -> Search:
        self.looks.append(now)
        return super().search(now)

    def searched(
        self, search: Search, reached: Mapping[int, Position], *, now: float, seconds: float
    ) -> None:
        self.claims += bool(reached)
        super().searched(search, reached, now=now, seconds=seconds)


@dataclass(frozen=True, slots=True)
class TimedReplica:
    """One replica's share of the lane."""

    timekeeper: Timekeeper
    console: KeepingConsole
    rescuer: Rescuer
    frontier: WatchedFrontier

    async def looks_again(self) -> None:
        """Wait until it has looked at Postgres from beginning to end since now."""
        looks = len(self.frontier.looks)
        await until(lambda: len(self.frontier.looks) > looks + 1)


class TimedCluster:
    """Replicas that share a database and a live config."""

    def __init__(self, pool: Pool, redis_url: str, **values: object) -> None:
        self.pool = pool
        self.live = Live(Snapshot(LiveConfig.model_validate(values), Origin(0, 1)))
        self._redis_url = redis_url
        self.catch_up = self.nothing

    def retune(self, **values: object) -> None:
        """Put other live values, which every replica has at once."""
        origin = self.live.snapshot.origin
        assert origin is not None
        config = LiveConfig.model_validate({**self.live.value.model_dump(), **values})
        self.live.publish(Snapshot(config, Origin(0, origin.revision + 1)))

    @asynccontextmanager
    async def replica(
        self,
        name: str,
        channel: BatchChannel | None = None,
        *,
        frontier: WatchedFrontier | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> AsyncIterator[TimedReplica]:
        """One that sends through this channel, or its own."""
        frontier = frontier or WatchedFrontier()
        clock = DatabaseClock()
        console = KeepingConsole(clock)
        redis = BoundedRedis(self._redis_url, password=None, db=0)
        recent = RecentSent(redis)
        settler = Settler(self.pool, redis, recent, lane=CONSOLE.name, replica=name)
        tuner = Tuner(CONSOLE, self.live, self.pool, keep=self.nothing)
        timekeeper = Timekeeper(
            TimekeeperParts(
                *(CONSOLE, self.live, self.pool, settler, channel or console, clock, tuner),
                catch_up=lambda: self.catch_up(),  # noqa: PLW0108 - whatever it is by then
                poll_seconds=poll_seconds,
                frontier=frontier,
            )
        )
        rescuer = Rescuer(self.pool, redis, recent, self.live, replica=name, longest_lease=longest_lease)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(redis.close)
            await stack.enter_async_context(background("settler", settler.run))
            await stack.enter_async_context(background("tuner", tuner.run))
            await stack.enter_async_context(
                draining("timekeeper", timekeeper.run, timekeeper.stop, seconds=10)
            )
            yield TimedReplica(timekeeper, console, rescuer, frontier)

    async def nothing(self) -> None:
        """All replicas here have the same live config at once."""


async def put_timed(pool: Pool, count: int, *, due_in: float = 0.0, apart: float = 0.0) -> list[int]:
    """Messages of the console lane: the first is due in so many seconds, each further one so much later."""
    rows = await pool.fetch(
        """
        INSERT INTO messages (lane, recipient_phone, content, deliver_at)
        SELECT 'console', 'console', 'message ' || n, clock_timestamp() + $2::interval + (n - 1) * $3::interval
        FROM generate_series(1, $1::int) n RETURNING id
        """,
        count,
        timedelta(seconds=due_in),
        timedelta(seconds=apart),
    )
    return [row["id"] for row in rows]
