"""History: the chat messages of a conversation, page by page, in the order of its ids.

One index range a page, newest month first: a page costs the same at either end, and among however many messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dispatcher.chat.ids import MAX_ID, first_id
from dispatcher.chat.message import COLUMNS, ChatMessage
from dispatcher.chat.seat import Seat
from dispatcher.kernel.db import Connection, Pool
from dispatcher.kernel.errors import NotFoundError

MAX_LIMIT = 100

_RANGE = f"SELECT {COLUMNS} FROM chat_messages WHERE conversation_id = $1 AND id >= $2 AND id < $3"
BACKWARD = f"{_RANGE} ORDER BY id DESC LIMIT $4"
FORWARD = f"{_RANGE} ORDER BY id LIMIT $4"
# Over all months, but only of what was changed at all.
CHANGES = f"""
SELECT {COLUMNS} FROM chat_messages WHERE conversation_id = $1 AND change > $2 AND id > $3 ORDER BY change LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Which messages: sent from this moment, and before that one."""

    begins: datetime | None = None
    ends: datetime | None = None

    def ids(self, seat: Seat) -> tuple[int, int]:
        """The same as ids, of those that the seat's user may see: from the first, to before the second."""
        low = seat.joined_id + 1
        high = seat.last_id + 1
        if self.begins is not None:
            low = max(low, first_id(self.begins))
        if self.ends is not None:
            high = min(high, first_id(self.ends))
        return low, high


@dataclass(frozen=True, slots=True)
class Page:
    """Chat messages in their order, oldest first; whether the span holds older and newer ones."""

    messages: Sequence[ChatMessage]
    older: bool
    newer: bool


EVERYTHING = Span()


async def newest(pool: Pool, seat: Seat, *, limit: int, span: Span = EVERYTHING) -> Page:
    """The newest messages of the span."""
    return await before(pool, seat, MAX_ID, limit=limit, span=span)


async def before(pool: Pool, seat: Seat, id_: int, *, limit: int, span: Span = EVERYTHING) -> Page:
    """The newest messages of the span that are older than this id."""
    low, high = span.ids(seat)
    rows = await pool.fetch(BACKWARD, seat.conversation_id, low, min(high, id_), limit + 1)
    found = [ChatMessage.of(row) for row in reversed(rows[:limit])]
    return Page(found, older=len(rows) > limit, newer=id_ < high)


async def after(pool: Pool, seat: Seat, id_: int, *, limit: int, span: Span = EVERYTHING) -> Page:
    """The oldest messages of the span that are newer than this id."""
    low, high = span.ids(seat)
    rows = await pool.fetch(FORWARD, seat.conversation_id, max(low, min(id_ + 1, MAX_ID)), high, limit + 1)
    found = [ChatMessage.of(row) for row in rows[:limit]]
    return Page(found, older=id_ >= low, newer=len(rows) > limit)


async def around(pool: Pool, seat: Seat, id_: int, *, limit: int, span: Span = EVERYTHING) -> Page:
    """The message with this id in the middle: half of the page older than it, it and the rest newer."""
    old = await before(pool, seat, id_, limit=limit // 2, span=span)
    new = await after(pool, seat, id_ - 1, limit=limit - limit // 2, span=span)
    return Page([*old.messages, *new.messages], older=old.older, newer=new.newer)


async def look(database: "Pool | Connection", seat: Seat, id_: int) -> ChatMessage:
    """The message with this id.

    Raises:
        NotFoundError: There is none that the seat's user may see.
    """
    low, high = EVERYTHING.ids(seat)
    row = await database.fetchrow(FORWARD, seat.conversation_id, max(low, id_), min(high, id_ + 1), 1)
    if row is None:
        raise NotFoundError(f"there is no message {id_} in conversation {seat.conversation_id}")
    return ChatMessage.of(row)


async def behind(pool: Pool, seat: Seat, seq: int, *, at_most: int) -> Sequence[ChatMessage] | None:
    """All messages behind this `seq`, oldest first; None when they are more than `at_most`: read them by pages.

    `seq` has no gaps, so they are exactly the newest `last_seq - seq`, and no index by `seq` is needed to find them.
    Messages that come in meanwhile are left for the next time.
    """
    missing = seat.last_seq - max(seq, seat.joined_seq)
    if missing <= 0:
        return []
    if missing > at_most:
        return None
    return (await newest(pool, seat, limit=missing)).messages


async def changes(pool: Pool, seat: Seat, change: int, *, limit: int) -> Sequence[ChatMessage]:
    """Messages edited or deleted since this `change`, in that order, at most `limit`; each as it is now."""
    rows = await pool.fetch(CHANGES, seat.conversation_id, change, seat.joined_id, limit)
    return [ChatMessage.of(row) for row in rows]
