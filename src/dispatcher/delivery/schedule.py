"""The schedule's row: read it with Postgres's clock, change it by compare-and-set on its version.

Every change (a tick claimed, start, stop, a new pace) is computed by the pure functions of `pace` and written
only if nobody has changed the row since it was read. So no two replicas ever claim one tick, and nothing needs
a lock that somebody could die with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from dispatcher.delivery import pace
from dispatcher.delivery.pace import Pace, Probing, Schedule, Tick
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import UnavailableError
from dispatcher.kernel.live import Origin

CONTENTION_TRIES = 1000
"""Each lost race means that another replica made progress; a thousand in a row is a bug, not contention."""


@dataclass(frozen=True, slots=True)
class Look:
    """The schedule at one moment of Postgres's clock."""

    schedule: Schedule
    now: datetime

    @property
    def due_in(self) -> float:
        """Seconds until the next tick is due; negative when it is overdue."""
        return (self.schedule.next_at - self.now).total_seconds()


async def create(pool: Pool, lane: str, wanted: Pace, origin: Origin | None) -> bool:
    """Make the lane's row, its first tick due at once; False if it exists."""
    made = await pool.fetchval(
        """
        INSERT INTO schedules (lane, running, blocked, rate_limit, tick_interval, queue_capacity, auto_sending,
                               anchor_at, anchor_no, next_no, epoch, revision, target, probe_base, probe_cap)
        SELECT $1, $6, $2, $3, $4, $5, $6, clock_timestamp(), next_no, next_no, $7, $8, $9, $10, $11
        FROM (SELECT coalesce(max(no) + 1, 0) AS next_no FROM ticks WHERE lane = $1) AS history
        ON CONFLICT (lane) DO NOTHING
        RETURNING true
        """,
        lane,
        wanted.blocked,
        wanted.rate_limit,
        wanted.interval,
        wanted.queue_capacity,
        wanted.auto_sending,
        *_stored(origin),
        *_stored_probing(wanted.probing),
    )
    return made is not None


async def look(pool: Pool, lane: str) -> Look:
    """The row as it is, with the database's time."""
    row = await pool.fetchrow("SELECT *, clock_timestamp() AS now FROM schedules WHERE lane = $1", lane)
    if row is None:
        raise UnavailableError(f"lane {lane} has no schedule yet; it is made when the service starts")
    return Look(_schedule(row), row["now"])


async def change(pool: Pool, lane: str, decide: Callable[[Schedule, datetime], Schedule]) -> Schedule:
    """Apply a pure decision to the row, again on the newer row for as long as others change it in between.

    When this returns, no claim that began under the old row is still under way.
    """
    for _ in range(CONTENTION_TRIES):
        seen = await look(pool, lane)
        wanted = decide(seen.schedule, seen.now)
        if wanted == seen.schedule or await _swap(pool, seen.schedule, wanted):
            return wanted
    raise UnavailableError(f"the schedule of lane {lane} changes too fast; try again")


async def claim_tick(pool: Pool, seen: Look, *, replica: str) -> Tick | None:
    """Claim the next due tick and begin its history; None when none is due or another replica was faster."""
    claimed = pace.claim_tick(seen.schedule, seen.now)
    if claimed is None:
        return None
    after, tick = claimed
    return tick if await _swap(pool, seen.schedule, after, tick=tick, replica=replica) else None


# `turn`: see messages/claim.py. The row is still compared by its version, whoever holds the lock.
_SWAP = """
WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtext('dispatcher schedule'), hashtext($1))
)
UPDATE schedules
SET running = $3, blocked = $4, rate_limit = $5, tick_interval = $6, queue_capacity = $7, auto_sending = $8,
    anchor_at = $9, anchor_no = $10, next_no = $11, last_at = $12, dropped_ticks = $13,
    epoch = $14, revision = $15, probes = $16, target = $17, probe_base = $18, probe_cap = $19, version = version + 1, changed_at = clock_timestamp()
FROM turn
WHERE lane = $1 AND version = $2
RETURNING lane
"""
_SWAP_AND_TICK = f"""
WITH moved AS ({_SWAP})
INSERT INTO ticks (lane, no, due_at, replica, rate_limit, tick_interval, waiting, dropped)
SELECT lane, $20, $21, $22, $23, $6, $24, $25 FROM moved
RETURNING lane
"""


async def _swap(
    pool: Pool, seen: Schedule, wanted: Schedule, *, tick: Tick | None = None, replica: str | None = None
) -> bool:
    arguments = (
        seen.lane,
        seen.version,
        wanted.running,
        wanted.pace.blocked,
        wanted.pace.rate_limit,
        wanted.pace.interval,
        wanted.pace.queue_capacity,
        wanted.pace.auto_sending,
        wanted.anchor_at,
        wanted.anchor_no,
        wanted.next_no,
        wanted.last_at,
        wanted.dropped_ticks,
        *_stored(wanted.origin),
        wanted.probes,
        *_stored_probing(wanted.pace.probing),
    )
    if tick is None:
        return await pool.fetchval(_SWAP, *arguments) is not None
    ticked = (tick.no, tick.due_at, replica, tick.rate_limit, tick.waiting, tick.dropped)
    return await pool.fetchval(_SWAP_AND_TICK, *arguments, *ticked) is not None


def _schedule(row: asyncpg.Record) -> Schedule:
    revision, target = row["revision"], row["target"]
    return Schedule(
        lane=row["lane"],
        running=row["running"],
        pace=Pace(
            rate_limit=row["rate_limit"],
            interval=row["tick_interval"],
            queue_capacity=row["queue_capacity"],
            auto_sending=row["auto_sending"],
            blocked=row["blocked"],
            probing=None if target is None else Probing(target, row["probe_base"], row["probe_cap"]),
        ),
        anchor_at=row["anchor_at"],
        anchor_no=row["anchor_no"],
        next_no=row["next_no"],
        last_at=row["last_at"],
        dropped_ticks=row["dropped_ticks"],
        origin=None if revision is None else Origin(row["epoch"], revision),
        version=row["version"],
        probes=row["probes"],
    )


def _stored(origin: Origin | None) -> tuple[int | None, int | None]:
    return (None, None) if origin is None else (origin.epoch, origin.revision)


def _stored_probing(probing: Probing | None) -> tuple[str | None, timedelta | None, timedelta | None]:
    return (None, None, None) if probing is None else (probing.target, probing.base, probing.cap)
