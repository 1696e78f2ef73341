"""By halves: one message that Postgres refuses to move must not keep all the others of its batch from it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

T = TypeVar("T")

REFUSED: tuple[type[Exception], ...] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.CardinalityViolationError,
    asyncpg.PLPGSQLError,  # a trigger that somebody put on the table
    ValueError,  # asyncpg's own, for an argument that it cannot encode
)
"""A row itself is at fault: it would be refused again."""


async def by_halves(
    write: Callable[[Sequence[T]], Awaitable[None]],
    batch: Sequence[T],
    *,
    refused: Callable[[T, Exception], None],
) -> None:
    """Write the batch; when it is refused, each half of it by itself. `refused` is told what is refused alone."""
    try:
        await write(batch)
    except REFUSED as error:
        if len(batch) == 1:
            refused(batch[0], error)
            return
        middle = len(batch) // 2
        await by_halves(write, batch[:middle], refused=refused)
        await by_halves(write, batch[middle:], refused=refused)
