"""The tuner: brings the lane's schedule up to the live configuration, whatever tick is being worked off meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from dispatcher.delivery import pace, schedule
from dispatcher.delivery.lane import Lane
from dispatcher.kernel import backoff
from dispatcher.kernel.clock import pause, wait_for
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.live import Live, Snapshot
from dispatcher.live_config.model import LiveConfig

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 5.0
"""How long a schedule can be missing that somebody deleted by hand."""


class Tuner:
    """Every replica has one; the first to see a new snapshot changes the row, the others find it changed."""

    def __init__(
        self, lane: Lane, live: Live[LiveConfig], pool: Pool, *, keep: Callable[[], Awaitable[None]]
    ) -> None:
        """`keep` stores the live configuration for other replicas."""
        self._keep = keep
        self._lane = lane
        self._live = live
        self._pool = pool
        self._wake = asyncio.Event()
        self._applied: Snapshot[LiveConfig] | None = None
        self._signals: list[asyncio.Event] = []
        live.signal(self._wake)

    @property
    def tuned(self) -> bool:
        """Whether the schedule is up to what this replica knows; until then it must not claim a tick."""
        return self._applied is self._live.snapshot

    def signal(self, event: asyncio.Event) -> None:
        """Set this event whenever the schedule has been tuned."""
        self._signals.append(event)

    async def run(self) -> None:
        """Follow the live configuration forever, through any outage of Postgres."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                await self.apply()
                failures = 0
            except UNAVAILABLE as error:
                failures += 1
                if failures == 1:
                    log.warning("tuner_waits_for_postgres", error=str(error) or type(error).__name__)
                await pause(backoff.delay(failures, base=0.1, cap=2.0))
            else:
                await wait_for(self._wake, LOOK_AGAIN_SECONDS)

    async def apply(self) -> None:
        """Make the row if it is missing, and write the current snapshot's pace to it, once."""
        snapshot, applied = self._live.snapshot, self._applied
        wanted = self._lane.terms(snapshot.value).pace
        # First: whoever reads our origin in the row must find the values that go with it.
        await self._keep()
        made = await schedule.create(self._pool, self._lane.name, wanted, snapshot.origin)
        if not made and snapshot is applied:
            return
        could_not_send = applied is not None and self._lane.terms(applied.value).pace.blocked is not None
        await schedule.change(
            self._pool, self._lane.name, lambda row, now: pace.retune(row, wanted, snapshot.origin, now)
        )
        if could_not_send and wanted.blocked is None:
            await schedule.change(self._pool, self._lane.name, pace.resume)
        self._applied = snapshot
        for event in self._signals:
            event.set()
