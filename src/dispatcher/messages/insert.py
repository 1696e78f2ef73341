"""Insert: put messages in, one or many; anyone may do the same with a plain SQL INSERT."""

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.kernel.db import Pool
from dispatcher.messages.table import RECIPIENT_LENGTH, WEBHOOK_CONTENT_LENGTH


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message for the webhook lane, due at once."""

    recipient: str
    content: str


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
    if len(message.content) > WEBHOOK_CONTENT_LENGTH:
        return f"content has {len(message.content)} characters; at most {WEBHOOK_CONTENT_LENGTH} are taken"
    if "\x00" in message.recipient or "\x00" in message.content:
        return "a NUL character cannot be stored"
    return None


async def insert(pool: Pool, new: Sequence[NewMessage]) -> list[int]:
    """Insert them in one transaction, in this order. Their ids."""
    rows = await pool.fetch(
        """
        INSERT INTO messages (recipient_phone, content)
        SELECT recipient, content FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (recipient, content, position)
        ORDER BY position
        RETURNING id
        """,
        [message.recipient for message in new],
        [message.content for message in new],
    )
    return [row["id"] for row in rows]


async def insert_if_empty(pool: Pool, new: Sequence[NewMessage]) -> int:
    """Insert them if the table has no message at all, atomically among several starts. How many were inserted."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE")
        if await connection.fetchval("SELECT EXISTS (SELECT FROM messages)"):
            return 0
        await connection.executemany(
            "INSERT INTO messages (recipient_phone, content) VALUES ($1, $2)",
            [(message.recipient, message.content) for message in new],
        )
    return len(new)
