"""Schedule: a chat message that is sent later, by the engine that delivers the other lanes' messages at their time.

It waits as a message of the lane `chat`: seen, cancelled and retried like any other. When it is due `channel.py` sends
it with a `client_id` made of the message's id: attempted twice, it is sent once.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from dispatcher.chat.message import COLUMNS, ChatMessage
from dispatcher.chat.seat import find_seat
from dispatcher.chat.send import NewChatMessage, SendResult
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Connection, Pool
from dispatcher.kernel.errors import ConflictError, NotFoundError
from dispatcher.messages.arrived import Arrived, tell
from dispatcher.messages.idempotency import Answer, IdempotencyKey, claim_keys, find_answer, keep_answers
from dispatcher.messages.insert import NewMessage, insert
from dispatcher.messages.look import look
from dispatcher.messages.state import State

LANE = "chat"
MAX_WAITING = 100
"""Messages for later of one user in one conversation: as many as are listed."""
TOLERANCE = timedelta(seconds=1)
"""A `timestamp` that is no further ahead is a clock that is."""
CLIENT_ID = "scheduled:"
"""How the `client_id` of a message begins that was scheduled."""

Outcome = Literal["scheduled", "sent", "failed", "cancelled"]
_OUTCOMES: dict[State, Outcome] = {
    State.SENT: "sent",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}
# so that two that come together do not both take the last place
_HOLD = "SELECT FROM members WHERE conversation_id = $1 AND user_id = $2 FOR NO KEY UPDATE"
COUNT = "SELECT count(*) FROM messages_pending WHERE lane = $1 AND recipient_phone = $2"
SENT = f"SELECT {COLUMNS} FROM chat_messages WHERE conversation_id = $1 AND sender_id = $2 AND client_id = $3"


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A chat message for later, as it was first asked for."""

    message_id: int
    """Its id among the messages of the lanes."""
    content: str
    at: datetime
    outcome: Outcome = "scheduled"
    """What has become of it."""
    repeated: bool = False
    """It was asked for before."""


def is_later(timestamp: datetime | None) -> bool:
    """Whether a message with this `timestamp` is to be sent later."""
    return timestamp is not None and timestamp > utc_now() + TOLERANCE


async def schedule(pool: Pool, arrived: Arrived, new: NewChatMessage, at: datetime) -> Scheduled:
    """Have it sent at that time; `arrived` is told of it. A repeat changes nothing.

    Raises:
        NotFoundError: There is no such conversation, as far as the sender may know.
        ForbiddenError: The sender is no longer a member.
        ConflictError: The conversation is closed, or MAX_WAITING of the sender's wait in it.
    """
    seat = await find_seat(pool, new.conversation_id, new.sender_id)
    if new.kind not in (None, seat.kind):
        raise NotFoundError(f"there is no {new.kind} {new.conversation_id}")
    if seat.closed_at is not None:
        raise ConflictError(f"conversation {new.conversation_id} is closed: nobody is there to read it")
    waiting = NewMessage(recipient(new.conversation_id, new.sender_id), new.content, at, lane=LANE)
    async with pool.acquire() as connection, connection.transaction():
        key = _key(new)
        known = await claim_keys(connection, [key]) if key else {}
        if key and key.key in known:
            return await _found(connection, known[key.key].answer)
        await connection.execute(_HOLD, new.conversation_id, new.sender_id)
        if await connection.fetchval(COUNT, LANE, waiting.recipient) >= MAX_WAITING:
            raise ConflictError(
                f"{MAX_WAITING} of your messages for later wait in this conversation already; call one off"
            )
        (id_,) = await insert(connection, [waiting])
        if key:
            await keep_answers(connection, {key.key: Answer(202, str(id_).encode())})
    tell(arrived, [waiting], at)
    return Scheduled(id_, new.content, at)


async def find_earlier(pool: Pool, new: NewChatMessage) -> tuple[Scheduled, SendResult | None] | None:
    """The message for later that this one repeats, whose time may have come meanwhile, and what it is in its conversation.

    None when it repeats none: without a `client_id` and a time, nothing does. The second is None as long as it is not sent.

    Raises:
        ForbiddenError: The sender is no longer a member.
    """
    key = _key(new)
    if new.client_at is None or key is None or (answer := await find_answer(pool, key.key)) is None:
        return None
    scheduled = await _found(pool, answer)
    return scheduled, await find_result(pool, new, scheduled)


async def find_result(pool: Pool, new: NewChatMessage, scheduled: Scheduled) -> SendResult | None:
    """What this message for later is in its conversation, for those who are still there; None as long as it is not.

    Raises:
        ForbiddenError: The sender is no longer a member.
    """
    seat = await find_seat(pool, new.conversation_id, new.sender_id)
    message = await find_sent(pool, new, scheduled.message_id)
    return None if message is None else SendResult(message, seat.peer, repeated=True)


async def find_sent(pool: Pool, new: NewChatMessage, message_id: int) -> ChatMessage | None:
    """What this message for later is in its conversation, however long ago it was sent; None when it was not."""
    row = await pool.fetchrow(SENT, new.conversation_id, new.sender_id, f"{CLIENT_ID}{message_id}")
    return None if row is None else ChatMessage.of(row)


def recipient(conversation_id: int, sender_id: str) -> str:
    """What stands in `recipient_phone` of this sender's messages for later into this conversation."""
    return f"{conversation_id}/{sender_id}"


def due(message_id: int, placed: str, content: str) -> NewChatMessage | None:
    """What to send now that the message is due; None for one of the lane that somebody put in who does not know how."""
    conversation, _, sender = placed.partition("/")
    if not (
        conversation.isascii() and conversation.isdigit() and len(conversation) < len(str(2**63)) and sender
    ):
        return None
    return NewChatMessage(int(conversation), sender, content, f"{CLIENT_ID}{message_id}")


async def _found(database: "Pool | Connection", answer: Answer) -> Scheduled:
    row = await look(database, int(answer.body))
    outcome = _OUTCOMES.get(State(row["state"]), "scheduled")
    return Scheduled(row["id"], row["content"], row["deliver_at"], outcome, repeated=True)


def _key(new: NewChatMessage) -> IdempotencyKey | None:
    if new.client_id is None:
        return None
    key = f"{LANE}/{new.conversation_id}/{new.sender_id}/{new.client_id}"
    return IdempotencyKey(key, hashlib.sha256(key.encode()).digest())
