"""Insert: put messages in, one or many; anyone may do the same with a plain SQL INSERT."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from dispatcher.kernel.db import Connection, Pool
from dispatcher.messages.limits import RECIPIENT_LENGTH, content_length
from dispatcher.messages.state import Priority

REFUSED: tuple[type[Exception], ...] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.PLPGSQLError,  # a trigger that somebody put on the table
    ValueError,  # asyncpg's own, for an argument that it cannot encode
)
"""A message itself is at fault: it would be refused again."""

# The ids come as one array: 10,000 rows would cost the client more. When a trigger leaves rows out, nobody could tell
# which ids are whose: the division then fails, and the statement with it.
INSERT = """
WITH inserted AS (
    INSERT INTO messages (lane, recipient_phone, content, priority, deliver_at)
    SELECT lane, recipient, content, priority, greatest(deliver_at, now())
    FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::timestamptz[]) WITH ORDINALITY
        AS given (lane, recipient, content, priority, deliver_at, position)
    ORDER BY position
    RETURNING id
)
SELECT array_agg(id) AS ids, now() AS at, 1 / (count(*) = cardinality($2))::int AS all_or_an_error FROM inserted
"""


class NewMessage(NamedTuple):
    """A message to be put in: for the webhook lane and due at once, unless it says otherwise.

    A tuple, because ten thousand of them are made at a time.
    """

    recipient: str
    content: str
    deliver_at: datetime | None = None
    """The earliest time of its first attempt. A time that has passed is due at once, behind what is due already."""
    priority: Priority = Priority.NORMAL
    lane: str = "webhook"


class LeftOutError(ValueError):
    """A trigger that somebody put on the table leaves messages out."""


def problem(message: NewMessage) -> str | None:
    """Why the table would refuse this message, in words for the one who wrote it; None when it is fine."""
    if not message.recipient:
        return "recipient_phone is empty"
    if len(message.recipient) > RECIPIENT_LENGTH:
        return (
            f"recipient_phone has {len(message.recipient)} characters; at most {RECIPIENT_LENGTH} are taken"
        )
    if not message.content:
        return "content is empty"
    if len(message.content) > content_length(message.lane):
        return (
            f"content has {len(message.content)} characters; at most {content_length(message.lane)} are taken"
        )
    if "\x00" in message.recipient or "\x00" in message.content:
        return "a NUL character cannot be stored"
    return None


async def insert(database: "Pool | Connection", new: Sequence[NewMessage]) -> list[int]:
    """Insert them in one transaction, in this order. Their ids."""
    ids, _ = await insert_at(database, new)
    return ids


async def insert_at(database: "Pool | Connection", new: Sequence[NewMessage]) -> tuple[list[int], datetime]:
    """Insert them in one transaction, in this order. Their ids, and when, by Postgres's clock.

    Raises:
        LeftOutError: The table would take fewer of them; none is in.
    """
    try:
        row = await database.fetchrow(
            INSERT,
            [message.lane for message in new],
            [message.recipient for message in new],
            [message.content for message in new],
            [message.priority for message in new],
            [message.deliver_at for message in new],
        )
    except asyncpg.DivisionByZeroError:
        raise LeftOutError("a trigger on the table left it out") from None
    assert row is not None
    return row["ids"] or [], row["at"]  # no array at all, of none


async def insert_if_empty(pool: Pool, new: Sequence[NewMessage]) -> int:
    """Insert them if the table has no message at all, atomically among several starts. How many were inserted."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE")
        if await connection.fetchval("SELECT EXISTS (SELECT FROM messages)"):
            return 0
        await insert(connection, new)
    return len(new)
