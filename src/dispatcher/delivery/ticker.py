"""The ticker: waits for the next tick by Postgres's clock, claims it, and has the pump work it off."""

import asyncio

import structlog

from dispatcher.delivery import pace, receipts, schedule, ticks
from dispatcher.delivery.pace import Tick
from dispatcher.delivery.pump import Pump, PumpParts
from dispatcher.delivery.state import scheduler_state
from dispatcher.kernel import backoff
from dispatcher.kernel.clock import pause, wait_for
from dispatcher.kernel.db import UNAVAILABLE
from dispatcher.kernel.live import Snapshot
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.live_config.model import LiveConfig

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 5.0
"""The longest that a change made by another replica, which died before acting on it, goes unnoticed."""


class Ticker:
    """Keeps one lane's ticks, together with the tickers of the other replicas."""

    def __init__(self, parts: PumpParts, redis: BoundedRedis, *, replica: str) -> None:
        self._parts = parts
        self._redis = redis
        self._replica = replica
        self._lane = parts.lane.name
        self._wake = asyncio.Event()
        self._stopping = False
        self._pump: Pump | None = None
        self._applied: Snapshot[LiveConfig] | None = None
        self._published: dict[str, object] = {}
        parts.live.signal(self._wake)

    def wake(self) -> None:
        """Look at the schedule now: it was changed by this process."""
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what is being sent is settled."""
        self._stopping = True
        self._wake.set()
        if self._pump is not None:
            self._pump.stop()

    async def run(self) -> None:
        """Keep the lane's ticks until `stop`, through any outage of Postgres."""
        failures = 0
        while not self._stopping:
            try:
                await self._step()
                failures = 0
            except UNAVAILABLE as error:
                failures += 1
                if failures == 1:
                    log.warning("ticks_wait_for_postgres", error=str(error) or type(error).__name__)
                await pause(backoff.delay(failures, base=0.1, cap=2.0))

    async def _step(self) -> None:
        self._wake.clear()
        await self._apply_live_config()
        seen = await schedule.look(self._parts.pool, self._lane)
        await self._publish(seen)
        if not seen.schedule.active:
            await wait_for(self._wake, LOOK_AGAIN_SECONDS)
        elif seen.due_in > seen.schedule.pace.interval.total_seconds():
            log.warning("database_clock_set_back", next_tick_in=seen.due_in)
            await schedule.change(self._parts.pool, self._lane, pace.rewound)
        elif seen.due_in > 0:
            await wait_for(self._wake, min(seen.due_in, LOOK_AGAIN_SECONDS))
        elif not self._stopping:
            tick = await schedule.claim_tick(self._parts.pool, seen, replica=self._replica)
            if tick is not None:
                await self._work(tick)

    async def _work(self, tick: Tick) -> None:
        if tick.dropped:
            log.error("ticks_dropped", lane=tick.lane, dropped=tick.dropped, waiting=tick.waiting)
        self._pump = Pump(self._parts, tick)
        if self._stopping:
            self._pump.stop()
        try:
            counts = await self._pump.work()
        finally:
            self._pump = None
        await ticks.finish(self._parts.pool, tick, counts)

    async def _apply_live_config(self) -> None:
        """Bring the lane's row up to the current snapshot; every replica does, the first one changes it."""
        snapshot = self._parts.live.snapshot
        if snapshot is self._applied:
            return
        wanted = self._parts.lane.terms(snapshot.value).pace
        await schedule.create(self._parts.pool, self._lane, wanted, snapshot.origin)
        await schedule.change(
            self._parts.pool, self._lane, lambda row, now: pace.retune(row, wanted, snapshot.origin, now)
        )
        self._applied = snapshot

    async def _publish(self, seen: schedule.Look) -> None:
        state = scheduler_state(seen)
        if state["version"] != self._published.get("version"):
            interval = seen.schedule.pace.interval.total_seconds()
            await receipts.publish_state(self._redis, self._lane, state, interval=interval)
            self._published = state
