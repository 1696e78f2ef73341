"""Remove: a user goes, with their name and their seats; what they wrote stays with those they wrote it to."""

from dispatcher.chat.group_members import leave
from dispatcher.chat.happened import Happening, Rearranged, Tell
from dispatcher.chat.users import no_such_user
from dispatcher.kernel.db import Pool

# The rows of the conversations first, in order, as everywhere.
_SEATS = """
SELECT c.id, c.kind FROM conversations c
WHERE c.id IN (SELECT conversation_id FROM members WHERE user_id = $1 AND left_seq IS NULL)
ORDER BY c.id FOR NO KEY UPDATE
"""
_CLOSE = "UPDATE conversations SET closed_at = now() WHERE id = $1"
_ROLE = "SELECT role FROM members WHERE conversation_id = $1 AND user_id = $2"


async def remove_user(pool: Pool, tell: Tell, user_id: str) -> None:
    """Their conversations with one other user are closed, their groups go on without them.

    Raises:
        NotFoundError: There is no such user.
    """
    told: list[Happening] = []
    async with pool.acquire() as connection, connection.transaction():
        gone = await connection.fetchval(
            "UPDATE users SET deleted_at = now(), name = NULL WHERE id = $1 AND deleted_at IS NULL RETURNING id",
            user_id,
        )
        if gone is None:
            raise no_such_user(user_id)
        for seat in await connection.fetch(_SEATS, user_id):
            role = await connection.fetchval(_ROLE, seat["id"], user_id)
            successor = await leave(connection, seat["id"], user_id, is_owner=role == "owner")
            told.append(Rearranged(seat["id"], "left", [user_id]))
            if seat["kind"] == "dm":
                await connection.execute(_CLOSE, seat["id"])
                told.append(Rearranged(seat["id"], "closed"))
            elif successor is not None:
                told.append(Rearranged(seat["id"], "role", [successor]))
    for happening in told:
        tell(happening)
