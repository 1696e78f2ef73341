"""Change: edit or delete a chat message of one's own.

Each change gets the next number of its conversation, under the lock of its row: whoever was away asks for those behind
the last one seen. Where two race, the conversation's row decides who is first; a deleted message is not edited.
"""

from dispatcher.chat.happened import Changed, Tell
from dispatcher.chat.history import look
from dispatcher.chat.message import COLUMNS, ChatMessage
from dispatcher.chat.seat import find_seat
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, ForbiddenError

_MINE = """
WITH mine AS (
    SELECT FROM members m JOIN chat_messages x ON x.conversation_id = m.conversation_id
    WHERE m.conversation_id = $1 AND m.user_id = $3 AND m.left_seq IS NULL AND x.id = $2 AND x.id > m.joined_id
      AND x.sender_id = $3 AND x.deleted_at IS NULL
), numbered AS (
    UPDATE conversations SET last_change = last_change + 1 WHERE id = $1 AND EXISTS (SELECT FROM mine)
    RETURNING last_change
)
UPDATE chat_messages SET change = numbered.last_change, """
_WHERE = f"""
FROM numbered WHERE conversation_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING {COLUMNS}
"""
EDIT = f"{_MINE} content = $4, edited_at = now() {_WHERE}"
ERASE = f"{_MINE} content = '', deleted_at = now() {_WHERE}"


async def edit(
    pool: Pool, tell: Tell, conversation_id: int, id_: int, user_id: str, *, content: str
) -> ChatMessage:
    """The message with its new content.

    Raises:
        NotFoundError: There is no such conversation or message, as far as the user may know.
        ForbiddenError: It is somebody else's, or the user is no longer a member.
        ConflictError: It is deleted.
    """
    row = await pool.fetchrow(EDIT, conversation_id, id_, user_id, content)
    if row is None:
        await _own(pool, conversation_id, id_, user_id)
        raise ConflictError(f"message {id_} is deleted")
    return _told(tell, ChatMessage.of(row))


async def erase(pool: Pool, tell: Tell, conversation_id: int, id_: int, user_id: str) -> ChatMessage:
    """What is left of the message: its place, without its content. Deleting it again changes nothing.

    Raises:
        NotFoundError: There is no such conversation or message, as far as the user may know.
        ForbiddenError: It is somebody else's, or the user is no longer a member.
    """
    row = await pool.fetchrow(ERASE, conversation_id, id_, user_id)
    if row is None:
        return await _own(pool, conversation_id, id_, user_id)
    return _told(tell, ChatMessage.of(row))


async def _own(pool: Pool, conversation_id: int, id_: int, user_id: str) -> ChatMessage:
    """The message as it is, if the user may change it at all."""
    found = await look(pool, await find_seat(pool, conversation_id, user_id), id_)
    if found.sender_id != user_id:
        raise ForbiddenError(f"message {id_} is not yours: only its sender changes it")
    return found


def _told(tell: Tell, message: ChatMessage) -> ChatMessage:
    tell(Changed(message))
    return message
