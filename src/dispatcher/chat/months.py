"""Months of chat messages: made before they begin, dropped when their every message is too old.

A table of a month is made on the side and attached, and dropped whole: no dead rows, no bloat, locks for milliseconds.
There is no partition for what fits nowhere: it would have to be scanned for every month that is made.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import structlog

from dispatcher.chat.ids import first_id
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
log = structlog.get_logger()

PARENT = "chat_messages"
MONTHS_AHEAD = 2
"""How long messages can be written after the last time that anything could make a month's partition."""


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """The partition of `chat_messages` that holds one month (UTC)."""

    first: date

    @property
    def name(self) -> str:
        """The partition's own name."""
        return f"{PARENT}_{self.first:%Y%m}"

    @property
    def begins(self) -> int:
        """The least id in it."""
        return first_id(datetime(self.first.year, self.first.month, 1, tzinfo=UTC))

    def plus(self, months: int) -> "Month":
        """So many months later."""
        count = self.first.year * 12 + self.first.month - 1 + months
        return Month(date(count // 12, count % 12 + 1, 1))

    @classmethod
    def of(cls, name: str) -> "Month | None":
        """The month that this partition holds; None for one that somebody else made."""
        try:
            return cls(datetime.strptime(name, f"{PARENT}_%Y%m").replace(tzinfo=UTC).date())
        except ValueError:
            return None


async def in_its_month(pool: Pool, write: Callable[[], Awaitable[T]]) -> T:
    """What this write answers; the months it may need are made if they are missing, and it is made again."""
    return await with_partition(write, lambda: make_months(pool))


async def make_months(pool: Pool, *, keep: timedelta | None = None) -> list[str]:
    """Make the partitions that are missing from last month to MONTHS_AHEAD from now, on Postgres's clock. Their names.

    Not last month when its every message is older than `keep`.
    """
    made = []
    async with pool.acquire() as connection, connection.transaction():
        await one_at_a_time(connection)
        day = await today(connection)
        this = Month(day.replace(day=1))
        there = await _months(connection)
        for wanted in (this.plus(offset) for offset in range(-1, MONTHS_AHEAD + 1)):
            if wanted not in there and (keep is None or wanted.plus(1).first > day - keep):
                ends = wanted.plus(1).begins
                await make_partition(connection, PARENT, wanted.name, begins=wanted.begins, ends=ends)
                made.append(wanted.name)
    return made


async def keep_months(pool: Pool, *, days: int | None) -> None:
    """Make the months to come, and drop those whose every message is older than `days`; None keeps all."""
    keep = None if days is None else timedelta(days=days)
    made = await make_months(pool, keep=keep)
    dropped = [] if keep is None else await drop_months(pool, keep=keep)
    if made or dropped:
        log.info("months_kept", made=made, dropped=dropped)


async def drop_months(pool: Pool, *, keep: timedelta) -> list[str]:
    """Drop the partitions whose every message is older than `keep`, oldest first. The names of those dropped.

    One that somebody is reading for too long stays until the next time, and so do the later ones.
    """
    dropped = []
    async with pool.acquire() as connection:
        oldest = await today(connection) - keep
        for month in sorted(await _months(connection)):
            if month.plus(1).first > oldest or not await drop_partition(connection, month.name):
                break
            dropped.append(month.name)
    return dropped


async def _months(connection: Connection) -> set[Month]:
    names = await partitions_of(connection, PARENT)
    return {month for name in names if (month := Month.of(name)) is not None}
