"""Inbox: the conversations of a user, the latest active first, each with its last message."""

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.chat.ids import MAX_ID
from dispatcher.chat.message import COLUMNS as OF_MESSAGE
from dispatcher.chat.message import ChatMessage
from dispatcher.chat.seat import COLUMNS as OF_SEAT
from dispatcher.chat.seat import Kind, Seat
from dispatcher.kernel.db import Pool

MAX_LIMIT = 100
FIRST = (MAX_ID, MAX_ID)

_LAST = ", ".join(f"last.{name} AS message_{name}" for name in OF_MESSAGE.split(", "))
INBOX = f"""
WITH page AS (
    SELECT {OF_SEAT} FROM members m JOIN conversations c ON c.id = m.conversation_id
    WHERE m.user_id = $1 AND m.left_seq IS NULL AND (c.last_id, c.id) < ($2, $3) AND ($4::text IS NULL OR c.kind = $4)
    ORDER BY c.last_id DESC, c.id DESC LIMIT $5
)
SELECT page.*, {_LAST}, peer.name AS peer_name
FROM page
LEFT JOIN chat_messages last ON last.conversation_id = page.id AND last.id = page.last_id AND last.id > page.joined_id
LEFT JOIN users peer ON peer.id = CASE WHEN page.low_user = $1 THEN page.high_user ELSE page.low_user END
ORDER BY page.last_id DESC, page.id DESC
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One conversation of an inbox."""

    seat: Seat
    last: ChatMessage | None
    peer_name: str | None
    """The name of the other one of two users."""

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the inbox."""
        return self.seat.last_id, self.seat.conversation_id


async def inbox(
    pool: Pool, user_id: str, *, limit: int, after: tuple[int, int] = FIRST, kind: Kind | None = None
) -> Sequence[Entry]:
    """At most `limit` conversations that come behind this place. A conversation in use moves to the front."""
    rows = await pool.fetch(INBOX, user_id, *after, kind, limit)
    return [
        Entry(
            Seat.of(row),
            None
            if row["message_id"] is None
            else ChatMessage(*(row[f"message_{name}"] for name in OF_MESSAGE.split(", "))),
            row["peer_name"],
        )
        for row in rows
    ]
