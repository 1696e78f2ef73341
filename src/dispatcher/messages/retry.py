"""Retry: send messages that have ended once more, because a person says so.

Attempts go on counting, so that each number stands for one attempt of the message for good. `attempts_before` notes
how many there were: a message that is retried has all of `max_attempts` before it again, and its first backoff.
"""

import asyncpg

from dispatcher.kernel.db import Pool
from dispatcher.messages.matching import Filter
from dispatcher.messages.move import Wish, move
from dispatcher.messages.move_all import Changed, move_all
from dispatcher.messages.state import State
from dispatcher.messages.view import COLUMNS

RETRIABLE = (State.FAILED, State.CANCELLED, State.UNCERTAIN)
_WISH = Wish(takes=RETRIABLE, rule="only a message that is failed, cancelled or uncertain can be retried")
# now() and not its old deliver_at: it does not push in before what has waited all the time
_MOVE = """
INSERT INTO messages_pending (id, lane, recipient_phone, content, priority, deliver_at, attempt_count,
                              attempts_before, last_error, created_at)
SELECT id, lane, recipient_phone, content, priority, now(), attempt_count, attempt_count, last_error, created_at
FROM taken
"""
_RETRY = f"""
WITH taken AS (DELETE FROM messages_held WHERE id = $1 AND state = ANY ($2) RETURNING *)
{_MOVE} RETURNING {COLUMNS}
"""


async def retry(pool: Pool, message_id: int, wish: Wish = _WISH) -> asyncpg.Record:
    """Make it pending again, due now, with all attempts before it. Its row.

    Raises:
        NotFoundError: There is no such message.
        ConflictError: It is in none of the states that the wish takes.
    """
    return await move(
        pool,
        message_id,
        wish,
        lambda: pool.fetchrow(_RETRY, message_id, [str(state) for state in wish.takes]),
    )


async def retry_all(pool: Pool, state: State, wanted: Filter) -> Changed:
    """Do so with all of one of these states that match."""
    return await move_all(pool, state, wanted, _MOVE)
