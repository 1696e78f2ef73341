"""Upkeep: keeps the tables fit for what comes, and rids them of what is too old. Every replica does it."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog

from dispatcher.kernel import backoff
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import TROUBLE, UNAVAILABLE, Pool
from dispatcher.kernel.live import Live
from dispatcher.live_config.model import LiveConfig
from dispatcher.messages.idempotency import forget_idempotency_keys
from dispatcher.messages.retention import HELD_BATCH, delete_held, drop_days, last_day, make_days

log = structlog.get_logger()

EVERY_SECONDS = 900.0
FORGOTTEN_AT_ONCE = 1000
REST_SECONDS = 0.2
"""Between two batches of deletes, for whoever else uses the table."""


class Upkeep:
    """Makes days ahead, drops those older than `retention_days`, and forgets old idempotency keys."""

    def __init__(
        self, pool: Pool, live: Live[LiveConfig], *, also: Sequence[Callable[[], Awaitable[None]]] = ()
    ) -> None:
        """`also` is what other rooms want done as often."""
        self._pool = pool
        self._live = live
        self._also = also
        self.problem: str | None = None
        """Why it could not be done the last time, unless Postgres was away; None when it was."""

    async def run(self) -> None:
        """Keep everything up forever, through any outage of Postgres."""
        failures = 0
        while True:
            try:
                await self.once()
                failures, self.problem = 0, None
            except TROUBLE as error:
                failures += 1
                if not isinstance(error, UNAVAILABLE):
                    self.problem = await self._serious(error)
                log.warning("upkeep_failed", error=self.problem or str(error) or type(error).__name__)
            await pause(backoff.delay(failures, base=1.0, cap=60.0) if failures else EVERY_SECONDS)

    async def _serious(self, error: Exception) -> str:
        try:
            until = f"results can be written until {await last_day(self._pool)}"
        except TROUBLE:
            until = "results cannot be written when the days made so far are used up"
        return f"{error}; {until}; the role in APP_DB_URL must own the tables"

    async def once(self) -> None:
        """Everything once."""
        keep = timedelta(days=self._live.value.retention_days)
        made = await make_days(self._pool)
        dropped = await drop_days(self._pool, keep=keep)
        if made or dropped:
            log.info("days_kept", made=made, dropped=dropped)
        for rest in self._also:
            await rest()
        while await delete_held(self._pool, keep=keep) == HELD_BATCH:
            await pause(REST_SECONDS)
        while await forget_idempotency_keys(self._pool, FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE:
            await pause(REST_SECONDS)
