"""Remove: a user goes, with their name and their seats; what they wrote stays with those they wrote it to."""

from dispatcher.chat.happened import Happening, Rearranged, Tell
from dispatcher.chat.leave import leave
from dispatcher.chat.users import no_such_user
from dispatcher.kernel.db import Pool

_GONE = "UPDATE users SET deleted_at = now(), name = NULL WHERE id = $1 AND deleted_at IS NULL RETURNING id"
_LOCK = """
SELECT c.id FROM conversations c
WHERE c.id IN (SELECT conversation_id FROM members WHERE user_id = $1 AND left_seq IS NULL)
ORDER BY c.id FOR NO KEY UPDATE
"""


async def remove_user(pool: Pool, tell: Tell, user_id: str) -> None:
    """Their conversations with one other user are closed, their groups go on without them.

    Raises:
        NotFoundError: There is no such user.
    """
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(_GONE, user_id) is None:
            raise no_such_user(user_id)
        locked = [row["id"] for row in await connection.fetch(_LOCK, user_id)]
        left = await leave(connection, locked, user_id)
    told: list[Happening] = []
    for one in left:
        told.append(Rearranged(one.conversation_id, "left", [user_id]))
        if one.kind == "dm":
            told.append(Rearranged(one.conversation_id, "closed"))
        elif one.heir is not None:
            told.append(Rearranged(one.conversation_id, "role", [one.heir]))
    for happening in told:
        tell(happening)
