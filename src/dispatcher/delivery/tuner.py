"""The tuner: brings the lane's schedule up to the live configuration, whatever tick is being worked off meanwhile."""

import asyncio
from collections.abc import Callable

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
        self, lane: Lane, live: Live[LiveConfig], pool: Pool, *, changed: Callable[[], None]
    ) -> None:
        self._lane = lane
        self._live = live
        self._pool = pool
        self._changed = changed
        self._wake = asyncio.Event()
        self._applied: Snapshot[LiveConfig] | None = None
        live.signal(self._wake)

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
        snapshot = self._live.snapshot
        wanted = self._lane.terms(snapshot.value).pace
        made = await schedule.create(self._pool, self._lane.name, wanted, snapshot.origin)
        if not made and snapshot is not self._applied:
            await schedule.change(
                self._pool, self._lane.name, lambda row, now: pace.retune(row, wanted, snapshot.origin, now)
            )
        if made or snapshot is not self._applied:
            self._applied = snapshot
            self._changed()
