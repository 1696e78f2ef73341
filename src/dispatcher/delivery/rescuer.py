"""The rescuer: gives every expired lease its verdict. The only recovery path, for kill -9 and partition alike."""

from collections.abc import Callable, Container, Sequence
from datetime import datetime, timedelta

import structlog

from dispatcher.delivery import receipts
from dispatcher.delivery.by_halves import by_halves
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
    expired,
    rescue,
    verdict,
)
from dispatcher.messages.state import State

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
        repeatable: Container[str] = (),
    ) -> None:
        """`longest_lease` says how many seconds a lease of any lane lasts at most.

        In a lane that is `repeatable` two attempts are one message: it holds nothing for a person.
        """
        self._pool = pool
        self._redis = redis
        self._recent = recent
        self._live = live
        self._replica = replica
        self._longest_lease = longest_lease
        self._repeatable = repeatable
        self._clock = DatabaseClock()
        self._longest = 0.0
        self._no_verdict_before = 0.0
        self._settled_in_at: float | None = None
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
        """How far back to look; now and then all the way, for what somebody changed by hand.

        Not so soon after a start: what seems to have expired long ago may be a lease that runs still, if Postgres's clock
        was set forward while nobody here looked.
        """
        self._longest = max(self._longest, self._longest_lease(self._live.value))
        if self._settled_in_at is None:
            self._settled_in_at = now + self._longest
        if now < self._settled_in_at:
            return timedelta(seconds=self._longest)
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
        begun = [lease for lease in leases if not lease.reserved]
        await by_halves(self._release, reserved, refused=_say_refused)
        judged = await self._judge(begun) if begun else 0
        return len(reserved) + judged

    async def _release(self, reserved: Sequence[ExpiredLease]) -> None:
        if reserved:
            await release_reserved(self._pool, reserved)

    async def _judge(self, leases: Sequence[ExpiredLease]) -> int:
        """Give them their verdicts, unless Redis must be waited for. How many."""
        # no transaction is open while Redis is asked; the write is fenced by each lease's id instead
        found = await receipts.find(self._redis, leases)
        if found is None:
            self._silent_since = self._silent_since or elapsed()
            if elapsed() - self._silent_since < PATIENCE_SECONDS:
                return 0
            found = {}
        else:
            self._silent_since = None
        receipts_found, config = found, self._live.value
        rescued: dict[int, State] = {}

        async def write(some: Sequence[ExpiredLease]) -> None:
            states = [
                verdict(
                    lease,
                    receipts_found.get(lease.message_id),
                    on_uncertain="retry" if lease.lane in self._repeatable else config.on_uncertain,
                    max_attempts=config.max_attempts,
                )
                for lease in some
            ]
            rescued.update(await rescue(self._pool, some, states, receipts_found, replica=self._replica))

        await by_halves(write, leases, refused=_say_refused)
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
            self._no_verdict_before = ended + self._longest
            log.warning("rescuer_waits_for_leases", clock_jumped=round(jumped, 3), seconds=self._longest)
        if ended >= self._no_verdict_before:
            return False
        self._none_at = None  # then look all the way back: they seem to have expired long ago
        return True


def _say_refused(lease: ExpiredLease, error: Exception) -> None:
    log.warning("rescue_refused", message_id=lease.message_id, error=str(error))
