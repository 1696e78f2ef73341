"""Partitions that hold a range of a table each: made on the side and attached, dropped whole, one at a time."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import TypeVar

import asyncpg

from dispatcher.kernel.db import Connection

T = TypeVar("T")

LOCK_SECONDS = 1.0
"""How long a drop waits for readers, with everybody else waiting behind it; then it is left for the next time."""


async def one_at_a_time(connection: Connection) -> None:
    """Wait until no other transaction, of whichever replica, makes partitions; others then wait for this one."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('dispatcher retention'))")


async def today(connection: Connection) -> date:
    """The day in UTC, on Postgres's clock."""
    day: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    return day


async def partitions_of(connection: Connection, parent: str) -> list[str]:
    """The names of the parent's partitions, whoever made them."""
    rows = await connection.fetch(
        """
        SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE inhparent = to_regclass($1)
        """,
        parent,
    )
    return [row["relname"] for row in rows]


async def make_partition(
    connection: Connection, parent: str, name: str, *, begins: object, ends: object
) -> None:
    """Make the one for values from `begins` to before `ends`; writers and readers of the parent are not held up."""
    await connection.execute(
        f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL EXCLUDING IDENTITY EXCLUDING STORAGE)"
    )
    await connection.execute(
        f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{begins}') TO ('{ends}')"
    )


async def drop_partition(connection: Connection, name: str) -> bool:
    """Drop it with all that it holds. False when somebody has been reading it for longer than LOCK_SECONDS."""
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:g}s'")
            await connection.execute(f"DROP TABLE IF EXISTS {name}")
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        return False
    return True


async def with_partition(write: Callable[[], Awaitable[T]], make: Callable[[], Awaitable[object]]) -> T:
    """What this write answers; `make` makes the partitions it may need if they are missing, and it is made again."""
    try:
        return await write()
    except asyncpg.CheckViolationError as error:
        if error.constraint_name is not None:  # only a row without a partition to go to has none
            raise
        await make()
        return await write()
