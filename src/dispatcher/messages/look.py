"""Look: one message, wherever it is kept, and the attempts made for it."""

from collections.abc import Sequence

import asyncpg

from dispatcher.kernel.db import Connection, Pool
from dispatcher.kernel.errors import NotFoundError
from dispatcher.messages.view import COLUMNS

MAX_ATTEMPTS = 1000
"""The latest so many attempts are shown."""

LOOK = f"SELECT {COLUMNS} FROM messages WHERE id = $1 LIMIT 1"
ATTEMPTS = """
SELECT number, started_at, duration_ms, outcome, status, error, response_excerpt, tick_no, replica
FROM attempts WHERE message_id = $1 ORDER BY number DESC LIMIT $2
"""


async def look(pool: "Pool | Connection", message_id: int) -> asyncpg.Record:
    """The message's row, as `message_view` takes it.

    Raises:
        NotFoundError: There is none of this id.
    """
    row = await pool.fetchrow(LOOK, message_id)
    if row is None:
        raise NotFoundError(f"there is no message {message_id}; it never was, or is no longer kept")
    return row


async def look_closely(pool: Pool, message_id: int) -> tuple[asyncpg.Record, Sequence[asyncpg.Record]]:
    """The message's row and its attempts, oldest first, both of the same moment.

    Raises:
        NotFoundError: There is none of this id.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        row = await look(connection, message_id)
        attempts = await connection.fetch(ATTEMPTS, message_id, MAX_ATTEMPTS)
    return row, attempts[::-1]
