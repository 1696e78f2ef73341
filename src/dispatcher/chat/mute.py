"""Mute: whether a member wants to be called for new messages in a conversation."""

from dispatcher.chat.seat import Seat, find_seat
from dispatcher.kernel.db import Pool


async def mute(pool: Pool, conversation_id: int, user_id: str, *, muted: bool) -> Seat:
    """The user's seat, as it is now.

    Raises:
        NotFoundError: There is no such conversation, as far as the user may know.
        ForbiddenError: The user is no longer a member.
    """
    await pool.execute(
        """
        UPDATE members SET muted = $3
        WHERE conversation_id = $1 AND user_id = $2 AND left_seq IS NULL AND muted <> $3
        """,
        conversation_id,
        user_id,
        muted,
    )
    return await find_seat(pool, conversation_id, user_id)
