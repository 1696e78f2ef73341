"""The rescuer: gives every expired lease its verdict. The only recovery path, for kill -9 and partition alike."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import asyncpg
import structlog

from dispatcher.delivery import receipts
from dispatcher.kernel import backoff
from dispatcher.kernel.clock import elapsed, pause
from dispatcher.kernel.database_clock import DatabaseClock
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.live import Live
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.live_config.model import LiveConfig
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.release import release_reserved
from dispatcher.messages.rescue import (
    EVER,
    VISIBLE_AFTER,
    ExpiredLease,
    Receipt,
    expired,
    rescue,
    verdict,
)
from dispatcher.messages.table import State

log = structlog.get_logger()

EVERY_SECONDS = 1.0
BATCH = 500
WHOLE_EVERY_SECONDS = 300.0
PATIENCE_SECONDS = 5.0
"""How long a verdict waits for a Redis that does not answer: it may hold the receipt."""


class Rescuer:
    """Looks for expired leases of every lane; any replica may rescue any message."""

    def __init__(
        self,
        pool: Pool,
        redis: BoundedRedis,
        recent: RecentSent,
        live: Live[LiveConfig],
        *,
        replica: str,
        longest_lease: Callable[[LiveConfig], float],
    ) -> None:
        """`longest_lease` says how many seconds a lease of any lane lasts at most."""
        self._pool = pool
        self._redis = redis
        self._recent = recent
        self._live = live
        self._replica = replica
        self._longest_lease = longest_lease
        self._clock = DatabaseClock()
        self._no_verdict_before = 0.0
        self._silent_since: float | None = None
        self._none_at: float | None = None
        self._whole_again_at = 0.0

    async def run(self) -> None:
        """Rescue forever, through any outage of Postgres."""
        failures = 0
        while True:
            try:
                full = await self.rescue_once() == BATCH
                failures = 0
            except UNAVAILABLE as error:
                failures += 1
                full = False
                if failures == 1:
                    log.warning("rescuer_waits_for_postgres", error=str(error) or type(error).__name__)
            if not full:
                await pause(EVERY_SECONDS if not failures else backoff.delay(failures, base=1.0, cap=5.0))

    def _unseen(self, now: float) -> timedelta:
        """How far back to look; now and then all the way, for what somebody changed by hand."""
        if self._none_at is None or now >= self._whole_again_at:
            self._whole_again_at = now + WHOLE_EVERY_SECONDS
            return EVER
        return timedelta(seconds=now - self._none_at) + VISIBLE_AFTER

    async def rescue_once(self) -> int:
        """Give one batch its verdicts. How many expired leases were found."""
        began = elapsed()
        leases, now = await expired(self._pool, limit=BATCH, within=self._unseen(began))
        if self._clock_doubted(now, began):
            return 0
        if not leases:
            self._silent_since, self._none_at = None, began
            return 0
        reserved = [lease for lease in leases if lease.reserved]
        if reserved:
            await release_reserved(self._pool, reserved)
            leases = [lease for lease in leases if not lease.reserved]
            if not leases:
                return len(reserved)
        # no transaction is open while Redis is asked; the write is fenced by each lease's id instead
        found = await receipts.find(self._redis, leases)
        if found is None:
            self._silent_since = self._silent_since or elapsed()
            if elapsed() - self._silent_since < PATIENCE_SECONDS:
                return 0
            found = {}
        else:
            self._silent_since = None
        config = self._live.value
        states = [
            verdict(
                lease,
                found.get(lease.message_id),
                on_uncertain=config.on_uncertain,
                max_attempts=config.max_attempts,
            )
            for lease in leases
        ]
        rescued = await self._rescue(leases, states, found)
        for message_id, state in rescued.items():
            log.warning(
                "message_rescued", message_id=message_id, then=state.value, policy=config.on_uncertain
            )
        if State.SENT in rescued.values():
            for lane in {lease.lane for lease in leases}:
                await self._recent.outdated(lane)
        return len(leases)

    def _clock_doubted(self, now: datetime, began: float) -> bool:
        """Whether leases may only seem to have expired, because Postgres's clock was set forward: theirs still run."""
        ended = elapsed()
        jumped = self._clock.observe(now, began=began, ended=ended)
        if jumped > 0:
            wait = self._longest_lease(self._live.value)
            self._no_verdict_before = ended + wait
            log.warning("rescuer_waits_for_leases", clock_jumped=round(jumped, 3), seconds=wait)
        if ended >= self._no_verdict_before:
            return False
        self._none_at = None  # then look all the way back: they seem to have expired long ago
        return True

    async def _rescue(
        self, leases: Sequence[ExpiredLease], states: Sequence[State], found: Mapping[int, Receipt]
    ) -> dict[int, State]:
        """One message that Postgres refuses to move must not keep all the others from being rescued."""
        try:
            return await rescue(self._pool, leases, states, found, replica=self._replica)
        except asyncpg.IntegrityConstraintViolationError as error:
            if len(leases) == 1:
                log.warning("rescue_refused", message_id=leases[0].message_id, error=str(error))
                return {}
        middle = len(leases) // 2
        first = await self._rescue(leases[:middle], states[:middle], found)
        return first | await self._rescue(leases[middle:], states[middle:], found)
