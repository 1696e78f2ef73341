"""The history of ticks: what each did, for people to see. Bounded."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from dispatcher.delivery.pace import Tick
from dispatcher.kernel.db import Pool

KEPT = 10_000
"""Ticks kept per lane."""
PRUNE_EVERY = 250
"""Ticks between two prunings, so that a delete is one short range and not a chore of every tick."""


@dataclass(slots=True)
class TickCounts:
    """What became of the messages that one tick claimed."""

    claimed: int = 0
    sent: int = 0
    retried: int = 0
    failed: int = 0
    uncertain: int = 0


async def finish(pool: Pool, tick: Tick, counts: TickCounts) -> None:
    """Complete the tick's entry; now and then remove what is older than the history reaches."""
    await pool.execute(
        """
        UPDATE ticks SET finished_at = clock_timestamp(), claimed = $3, sent = $4, retried = $5, failed = $6, uncertain = $7
        WHERE lane = $1 AND no = $2
        """,
        tick.lane,
        tick.no,
        counts.claimed,
        counts.sent,
        counts.retried,
        counts.failed,
        counts.uncertain,
    )
    if tick.no % PRUNE_EVERY == 0:
        await pool.execute("DELETE FROM ticks WHERE lane = $1 AND no <= $2", tick.lane, tick.no - KEPT)


async def recent(pool: Pool, lane: str, *, limit: int, before: int | None) -> Sequence[asyncpg.Record]:
    """The latest ticks, newest first; those below the number `before`, when it is given."""
    return await pool.fetch(
        """
        SELECT * FROM ticks WHERE lane = $1 AND no < $3 ORDER BY no DESC LIMIT $2
        """,
        lane,
        limit,
        before if before is not None else 2**63 - 1,
    )
