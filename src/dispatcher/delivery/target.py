"""The target watch: pauses the lane when its target fails too often in a row, and ends the pause when it answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from dispatcher.channels.contract import Delivered, Outcome
from dispatcher.delivery import pace, schedule
from dispatcher.delivery.breaker import Breaker, failed
from dispatcher.delivery.lane import Terms
from dispatcher.delivery.pace import Schedule, Tick
from dispatcher.kernel import backoff
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import NOT_NOW, Pool

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What an outcome says of the target, to be written to the schedule."""

    decide: Callable[[Schedule, datetime], Schedule]
    paused: bool
    failures: int
    error: str | None


class TargetWatch:
    """Every replica has one for each lane. It is told every outcome, and changes the one schedule of all."""

    def __init__(self, pool: Pool, lane: str) -> None:
        self._pool = pool
        self._lane = lane
        self._breaker = Breaker()
        self._verdicts: list[_Verdict] = []
        self._reached = asyncio.Event()
        self._signals: list[asyncio.Event] = []

    @property
    def undecided(self) -> bool:
        """Whether a pause or its end is still to be written; until then this replica must not claim a tick."""
        return bool(self._verdicts)

    def signal(self, event: asyncio.Event) -> None:
        """Set this event whenever nothing is undecided any more."""
        self._signals.append(event)

    def heard(self, outcome: Outcome, tick: Tick, terms: Terms) -> bool:
        """Take notice of how an attempt ended. True: begin nothing more in this tick, the target fails."""
        probing = terms.pace.probing
        if probing is None:
            return False
        target = probing.target
        if tick.probe and not failed(outcome):
            self._reach(_Verdict(lambda row, now: pace.recover(row, target, now), False, 0, None))
            return False
        if not self._breaker.trips(outcome, tick, target, limit=terms.breaker_failures):
            return False
        error = None if isinstance(outcome, Delivered) else outcome.error
        self._reach(
            _Verdict(lambda row, now: pace.trip(row, tick, target, now), True, terms.breaker_failures, error)
        )
        return True

    async def run(self) -> None:
        """Write what was learnt to the schedule, in order, through any outage of Postgres."""
        failures = 0
        while True:
            await self._reached.wait()
            try:
                await self._write(self._verdicts[0])
            except NOT_NOW as error:
                failures += 1
                if failures == 1:
                    log.warning("target_watch_waits_for_postgres", error=str(error) or type(error).__name__)
                await pause(backoff.delay(failures, base=0.1, cap=2.0))
                continue
            failures = 0
            del self._verdicts[0]
            if not self._verdicts:
                self._reached.clear()
                for event in self._signals:
                    event.set()

    def _reach(self, verdict: _Verdict) -> None:
        self._verdicts.append(verdict)
        self._reached.set()

    async def _write(self, verdict: _Verdict) -> None:
        changed = False

        def decide(row: Schedule, now: datetime) -> Schedule:
            nonlocal changed
            wanted = verdict.decide(row, now)
            changed = wanted is not row
            return wanted

        after = await schedule.change(self._pool, self._lane, decide)
        if not changed:
            return
        if verdict.paused:
            log.warning(
                "target_paused",
                lane=self._lane,
                failures=verdict.failures,
                error=verdict.error,
                next_tick_at=after.next_at.isoformat(),
            )
        else:
            log.info("target_back", lane=self._lane, next_tick_at=after.next_at.isoformat())
