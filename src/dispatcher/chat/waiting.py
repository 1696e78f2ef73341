"""Waiting: a user's chat messages for later, as long as they have not been sent."""

from collections.abc import Sequence

from dispatcher.chat.schedule import LANE, MAX_WAITING, Scheduled, recipient
from dispatcher.chat.seat import Seat
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import NotFoundError
from dispatcher.messages.cancel import cancel

WAITING = f"""
SELECT id, content, deliver_at FROM messages_pending WHERE lane = $1 AND recipient_phone = $2
ORDER BY deliver_at, id LIMIT {MAX_WAITING}
"""


async def waiting(pool: Pool, seat: Seat) -> Sequence[Scheduled]:
    """Those of the seat's user in its conversation, soonest first, all of them, unless the operator has put more in."""
    rows = await pool.fetch(WAITING, LANE, recipient(seat.conversation_id, seat.user_id))
    return [Scheduled(row["id"], row["content"], row["deliver_at"]) for row in rows]


async def call_off(pool: Pool, seat: Seat, message_id: int) -> None:
    """Once this has returned, it is not sent. Nothing for one that was called off before.

    Raises:
        NotFoundError: The seat's user has no such message for later in its conversation.
        ConflictError: It is being sent, or has been.
    """
    found = await pool.fetchval(
        "SELECT true FROM messages WHERE id = $1 AND lane = $2 AND recipient_phone = $3",
        *(message_id, LANE, recipient(seat.conversation_id, seat.user_id)),
    )
    if not found:
        raise NotFoundError(f"you have no message {message_id} for later in this conversation")
    await cancel(pool, message_id)
