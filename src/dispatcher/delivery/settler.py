"""The settler: collects settlements while a batch is being written, and writes them as the next batch.

Group commit without a timer: a lone settlement is written at once, a busy lane fills batches by itself.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from dispatcher.delivery import receipts
from dispatcher.delivery.by_halves import REFUSED, by_halves
from dispatcher.kernel import backoff
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import TROUBLE, UNAVAILABLE, Pool
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.settle import Settlement, settle
from dispatcher.messages.state import State

log = structlog.get_logger()

BATCH = 1000
BACKLOG = 4 * BATCH
"""Settlements that may wait; beyond it attempts wait too, so that a slow Postgres slows the sending down."""


class Settled(Protocol):
    """Told once for each settlement that was submitted."""

    def settled(self, result: Settlement, *, kept: bool) -> None:
        """`kept` is False when the lease was lost and nothing was written."""
        ...


_Submitted = tuple[Settlement, Settled]


class Settler:
    """Writes settlements of one lane to Redis and Postgres, in that order."""

    def __init__(
        self, pool: Pool, redis: BoundedRedis, recent: RecentSent, *, lane: str, replica: str
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._recent = recent
        self._lane = lane
        self._replica = replica
        self._waiting: list[_Submitted] = []
        self._kept: list[_Submitted] = []
        self._filled, self._ready, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()

    def submit(self, result: Settlement, owner: Settled) -> bool:
        """Take a settlement; `owner` is told when it is written. False: wait for `room` before the next one."""
        self._waiting.append((result, owner))
        self._filled.set()
        if len(self._waiting) + len(self._kept) < BACKLOG:
            return True
        self._room.clear()
        return False

    async def room(self) -> None:
        """Wait until the backlog is no longer full."""
        await self._room.wait()

    async def run(self) -> None:
        """Write batches forever. A batch in hand is not lost when this is restarted: its leases run out."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_receipts())
            group.create_task(self._write_batches())

    async def _keep_receipts(self) -> None:
        """Receipts do not wait for Postgres: while it is away they are all that is known of what was sent."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            batch, self._waiting = self._waiting, []
            try:
                await receipts.keep(self._redis, [result for result, _ in batch])
            finally:
                self._kept += batch
                self._ready.set()

    async def _write_batches(self) -> None:
        while True:
            await self._ready.wait()
            batch, self._kept = self._kept[:BATCH], self._kept[BATCH:]
            if not self._kept:
                self._ready.clear()
            self._room.set()
            await self._flush(batch)

    async def _flush(self, batch: Sequence[_Submitted]) -> None:
        results, kept = [result for result, _ in batch], set[int]()
        try:
            kept = await self._write(results)
        finally:
            # whatever happens here, nobody may wait for ever for a result
            for result, owner in batch:
                owner.settled(result, kept=result.message_id in kept)
        for result in results:
            if result.message_id not in kept:
                log.warning(
                    "settlement_too_late",
                    message_id=result.message_id,
                    attempt=result.number,
                    outcome=result.outcome,
                )
        if any(result.state is State.SENT for result in results):
            await self._recent.outdated(self._lane)

    async def _write(self, results: Sequence[Settlement]) -> set[int]:
        """Write them all, but for what Postgres refuses. The ids of those that were kept."""
        kept: set[int] = set()

        async def write(some: Sequence[Settlement]) -> None:
            kept.update(await self._write_through(some))

        await by_halves(write, results, refused=_say_refused)
        return kept

    async def _write_through(self, results: Sequence[Settlement]) -> set[int]:
        """Through any outage of Postgres: an outcome that is known must not be forgotten."""
        failures = 0
        while True:
            try:
                return await settle(self._pool, results, replica=self._replica)
            except REFUSED:
                raise
            except TROUBLE as error:
                failures += 1
                if failures == 1:
                    say = log.warning if isinstance(error, UNAVAILABLE) else log.error
                    say("settle_waits_for_postgres", messages=len(results), error=str(error))
                await pause(backoff.delay(failures, base=0.1, cap=2.0))


def _say_refused(result: Settlement, error: Exception) -> None:
    log.error("settlement_refused", message_id=result.message_id, error=str(error))
