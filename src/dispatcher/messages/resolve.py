"""Resolve: say of uncertain messages whether they arrived, when a person has found out."""

from typing import Literal

import asyncpg

from dispatcher.kernel.db import Pool
from dispatcher.messages.matching import Filter
from dispatcher.messages.move import Wish, move
from dispatcher.messages.move_all import Changed, move_all
from dispatcher.messages.retention import on_its_day
from dispatcher.messages.retry import retry, retry_all
from dispatcher.messages.state import State
from dispatcher.messages.view import COLUMNS

Verdict = Literal["sent", "resend"]
"""It arrived; or it did not, and is to be sent again."""

_WISH = Wish(takes=(State.UNCERTAIN,), rule="only a message that is uncertain can be resolved")
# `sent_at` is the moment of the verdict: when it arrived nobody knows, and a page of /sent that somebody has read
# must not change. When it was tried, its attempts say.
_MOVE = """
INSERT INTO messages (id, lane, recipient_phone, content, state, sent_status, sent_at, priority, deliver_at,
                      attempt_count, attempts_before, created_at)
SELECT id, lane, recipient_phone, content, 'sent', true, now(), priority, deliver_at,
       attempt_count, attempts_before, created_at
FROM taken
"""
_RESOLVE = f"""
WITH taken AS (DELETE FROM messages_held WHERE id = $1 AND state = 'uncertain' RETURNING *)
{_MOVE} RETURNING {COLUMNS}
"""


async def resolve(pool: Pool, message_id: int, verdict: Verdict) -> asyncpg.Record:
    """Make it sent, as of now; or pending, due now, with all attempts before it. Its row.

    Raises:
        NotFoundError: There is no such message.
        ConflictError: It is not uncertain.
    """
    if verdict == "resend":
        return await retry(pool, message_id, _WISH)
    return await move(
        pool, message_id, _WISH, lambda: on_its_day(pool, lambda: pool.fetchrow(_RESOLVE, message_id))
    )


async def resolve_all(pool: Pool, verdict: Verdict, wanted: Filter) -> Changed:
    """Do so with all uncertain ones that match."""
    if verdict == "resend":
        return await retry_all(pool, State.UNCERTAIN, wanted)
    return await move_all(pool, State.UNCERTAIN, wanted, _MOVE)
