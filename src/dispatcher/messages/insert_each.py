"""Insert each: put in as many of these messages as the table takes, and say why it refused the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import asyncpg
import structlog

from dispatcher.kernel.db import Connection
from dispatcher.messages.insert import REFUSED, NewMessage, insert_at

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message is not in, in words for the one who sent it."""

    reason: str


Result: TypeAlias = int | Refusal
"""The id of a message that is in, or why it is not."""


async def insert_each(connection: Connection, new: Sequence[NewMessage]) -> tuple[list[Result], datetime]:
    """Insert them within the open transaction. One result each, in order, and when, by Postgres's clock."""
    try:
        async with connection.transaction():  # a savepoint: what one message breaks, it breaks for itself
            ids, at = await insert_at(connection, new)
    except REFUSED as error:
        if len(new) > 1:
            middle = len(new) // 2
            head, at = await insert_each(connection, new[:middle])
            tail, _ = await insert_each(connection, new[middle:])
            return head + tail, at
        reason = error.message if isinstance(error, asyncpg.PostgresError) else str(error)
        log.warning("message_refused", error=reason)
        return [Refusal(f"the database refused it: {reason}")], await connection.fetchval("SELECT now()")
    return [*ids], at
