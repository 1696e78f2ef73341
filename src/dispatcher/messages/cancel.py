"""Cancel: give up messages that nobody has claimed yet."""

import asyncpg

from dispatcher.kernel.db import Pool
from dispatcher.messages.matching import Filter
from dispatcher.messages.move import Wish, move
from dispatcher.messages.move_all import Changed, move_all
from dispatcher.messages.state import State
from dispatcher.messages.view import COLUMNS

_WISH = Wish(
    takes={State.PENDING},
    rule="only a message that is pending can be cancelled",
    already=State.CANCELLED,
)
MOVE = """
INSERT INTO messages_held (id, lane, recipient_phone, content, state, priority, deliver_at, attempt_count,
                           attempts_before, last_error, held_at, created_at)
SELECT id, lane, recipient_phone, content, 'cancelled', priority, deliver_at, attempt_count,
       attempts_before, last_error, now(), created_at
FROM taken
"""
# A claim that holds the row is waited for, and then has taken it.
_CANCEL = f"WITH taken AS (DELETE FROM messages_pending WHERE id = $1 RETURNING *) {MOVE} RETURNING {COLUMNS}"


async def cancel(pool: Pool, message_id: int) -> asyncpg.Record:
    """Cancel it: no attempt begins from now on. Its row, also if it was cancelled before.

    Raises:
        NotFoundError: There is no such message.
        ConflictError: It is being sent, or has ended.
    """
    return await move(pool, message_id, _WISH, lambda: pool.fetchrow(_CANCEL, message_id))


async def cancel_all(pool: Pool, wanted: Filter) -> Changed:
    """Cancel what is pending and matches; what is being claimed at the same time is sent."""
    return await move_all(pool, State.PENDING, wanted, MOVE)
