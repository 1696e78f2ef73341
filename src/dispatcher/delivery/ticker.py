"""The ticker: waits for the next tick by Postgres's clock, claims it, and has the pump work it off."""

import asyncio

import structlog

from dispatcher.delivery import pace, schedule, ticks
from dispatcher.delivery.pace import Tick
from dispatcher.delivery.publisher import StatePublisher
from dispatcher.delivery.pump import Pump, PumpParts
from dispatcher.delivery.tuner import Tuner
from dispatcher.kernel import backoff
from dispatcher.kernel.clock import wait_for
from dispatcher.kernel.db import NOT_NOW
from dispatcher.kernel.live import Origin

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 5.0
"""The longest that a change made by another replica, which died before acting on it, goes unnoticed."""
BEHIND_SECONDS = 0.2
"""How often a replica that lags behind looks whether it has caught up."""


class Ticker:
    """Keeps one lane's ticks, together with the tickers of the other replicas."""

    def __init__(
        self,
        parts: PumpParts,
        publisher: StatePublisher,
        tuner: Tuner,
        *,
        replica: str,
    ) -> None:
        self._parts = parts
        self._tuner = tuner
        self._publisher = publisher
        self._replica = replica
        self._said_behind: Origin | None = None
        self._lane = parts.lane.name
        self._wake = asyncio.Event()
        self._stopping = False
        self._pump: Pump | None = None
        tuner.signal(self._wake)
        parts.target.signal(self._wake)

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
            self._wake.clear()
            try:
                await self._step()
                failures = 0
            except NOT_NOW as error:
                failures += 1
                if failures == 1:
                    log.warning("ticks_wait_for_postgres", error=str(error) or type(error).__name__)
                await wait_for(self._wake, backoff.delay(failures, base=0.1, cap=2.0))

    async def _step(self) -> None:
        seen = await schedule.look(self._parts.pool, self._lane)
        self._publisher.offer(seen)
        if not seen.schedule.active:
            await wait_for(self._wake, LOOK_AGAIN_SECONDS)
        elif self._behind(seen):
            # by our own snapshot we would send at an old pace, or to an old target
            await self._parts.catch_up()
            if self._behind(seen):
                self._say_behind(seen)
                await wait_for(self._wake, BEHIND_SECONDS)
        elif not self._may_claim():
            await wait_for(self._wake, LOOK_AGAIN_SECONDS)
        elif seen.due_in > seen.schedule.furthest.total_seconds():
            log.warning("database_clock_set_back", next_tick_in=seen.due_in)
            await schedule.change(self._parts.pool, self._lane, pace.rewound)
        elif seen.due_in > 0:
            await wait_for(self._wake, min(seen.due_in, LOOK_AGAIN_SECONDS))
        elif not self._stopping:
            tick = await schedule.claim_tick(self._parts.pool, seen, replica=self._replica)
            if tick is not None:
                await self._work(tick)

    def _may_claim(self) -> bool:
        """Not before the schedule knows what this replica knows, and not without an address to send to."""
        known = self._tuner.tuned and not self._parts.target.undecided
        return known and self._parts.terms().pace.blocked is None

    def _say_behind(self, seen: schedule.Look) -> None:
        """Once for each origin: why this replica claims nothing."""
        theirs = seen.schedule.origin
        if theirs is not None and theirs != self._said_behind:
            self._said_behind = theirs
            log.warning("behind_the_live_config", epoch=theirs.epoch, revision=theirs.revision)

    def _behind(self, seen: schedule.Look) -> bool:
        """Whether the schedule follows a later live configuration than this replica has."""
        theirs, ours = seen.schedule.origin, self._parts.live.snapshot.origin
        return theirs is not None and (ours is None or ours < theirs)

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
