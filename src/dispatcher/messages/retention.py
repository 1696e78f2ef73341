"""Retention: the days of sent messages and attempts, made before they begin and dropped when they are too old.

A dropped day leaves no dead rows and no bloat, and takes a lock for milliseconds. What is held (failed, cancelled) is
little and is deleted in small batches; `uncertain` is never deleted: a person has still to decide about it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from dispatcher.kernel.db import Connection, Pool
from dispatcher.kernel.partitions import (
    drop_partition,
    make_partition,
    one_at_a_time,
    partitions_of,
    today,
    with_partition,
)

T = TypeVar("T")

DAYS_AHEAD = 7
"""How long results can be written after the last time that anything could make a day's partition."""
KEPT_BY_DAY = ("messages_sent", "attempts")
HELD_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Day:
    """The partition of a table that holds one day (UTC)."""

    parent: str
    day: date

    @property
    def name(self) -> str:
        """The partition's own name."""
        return f"{self.parent}_{self.day:%Y%m%d}"

    @property
    def begins(self) -> str:
        """Its first moment."""
        return f"{self.day} 00:00:00+00"

    @property
    def ends(self) -> str:
        """The moment after its last one."""
        return f"{self.day + timedelta(days=1)} 00:00:00+00"

    @classmethod
    def of(cls, parent: str, name: str) -> "Day | None":
        """The day that this partition of the parent holds; None for one that somebody else made."""
        try:
            return cls(parent, datetime.strptime(name, f"{parent}_%Y%m%d").replace(tzinfo=UTC).date())
        except ValueError:
            return None


async def on_its_day(pool: Pool, write: Callable[[], Awaitable[T]]) -> T:
    """What this write answers; the days it may need are made if they are missing, and it is made again."""
    return await with_partition(write, lambda: make_days(pool))


async def make_days(pool: Pool) -> list[str]:
    """Make the partitions that are missing from yesterday to DAYS_AHEAD from now, on Postgres's clock. Their names.

    Writers and readers are not held up: a partition is made on the side and attached.
    """
    made = []
    async with pool.acquire() as connection, connection.transaction():
        await one_at_a_time(connection)
        now = await today(connection)
        for parent in KEPT_BY_DAY:
            there = {day.day for day in await _days(connection, parent)}
            for offset in range(-1, DAYS_AHEAD + 1):
                wanted = Day(parent, now + timedelta(days=offset))
                if wanted.day not in there:
                    await make_partition(
                        connection, parent, wanted.name, begins=wanted.begins, ends=wanted.ends
                    )
                    made.append(wanted.name)
    return made


async def drop_days(pool: Pool, *, keep: timedelta) -> list[str]:
    """Drop the partitions whose every row is older than `keep`. The names of those dropped.

    One that somebody is reading for longer than `partitions.LOCK_SECONDS` stays until the next time, and so do the later ones of
    its parent: to try each of them would have everybody else wait again and again.
    """
    dropped = []
    async with pool.acquire() as connection:
        oldest = await today(connection) - keep
        for parent in KEPT_BY_DAY:
            for day in sorted(await _days(connection, parent), key=lambda one: one.day):
                if day.day + timedelta(days=1) > oldest or not await drop_partition(connection, day.name):
                    break
                dropped.append(day.name)
    return dropped


async def delete_held(pool: Pool, *, keep: timedelta) -> int:
    """Delete one batch of the failed and cancelled messages that came to be so longer ago. How many."""
    deleted = await pool.fetch(
        """
        DELETE FROM messages_held WHERE ctid = ANY (ARRAY (
            SELECT ctid FROM messages_held
            WHERE held_at < now() - $1::interval AND state <> 'uncertain'
            ORDER BY held_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ))
        RETURNING id
        """,
        keep,
        HELD_BATCH,
    )
    return len(deleted)


async def last_day(pool: Pool) -> date | None:
    """The last day, UTC, that results can be written on; None when there is none at all."""
    async with pool.acquire() as connection:
        ends = [
            max((day.day for day in await _days(connection, parent)), default=None) for parent in KEPT_BY_DAY
        ]
    return min((end for end in ends if end is not None), default=None) if all(ends) else None


async def _days(connection: Connection, parent: str) -> list[Day]:
    names = await partitions_of(connection, parent)
    return [day for name in names if (day := Day.of(parent, name)) is not None]
