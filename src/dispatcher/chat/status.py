"""Status: what has become of a chat message, as the watermarks of the other members say."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dispatcher.chat.message import ChatMessage
from dispatcher.kernel.db import Connection, Pool

NAMED_UP_TO = 256
"""Members of a conversation in which who has received and read a message is said by name."""

# Two of each: the sender does not count, and may be the one who is furthest behind. Whoever joined later begins with
# watermarks at that place, and so holds up no message from before.
# Of two users both count, also when one is gone: what they had read stays read.
_COUNTED = "(left_seq IS NULL OR (SELECT kind = 'dm' FROM conversations WHERE id = $1))"
HINDMOST = f"""
(SELECT user_id, delivered_seq AS seq, false AS read FROM members
 WHERE conversation_id = $1 AND {_COUNTED} ORDER BY delivered_seq LIMIT 2)
UNION ALL
(SELECT user_id, read_seq, true FROM members
 WHERE conversation_id = $1 AND {_COUNTED} ORDER BY read_seq LIMIT 2)
"""
COUNTS = f"""
SELECT count(*) AS members, count(*) FILTER (WHERE delivered_seq >= $2) AS delivered,
       count(*) FILTER (WHERE read_seq >= $2) AS read
FROM members WHERE conversation_id = $1 AND user_id <> $3 AND {_COUNTED} AND joined_seq < $2
"""
NAMES = f"""
SELECT user_id, CASE WHEN read_seq >= $2 THEN 'read' WHEN delivered_seq >= $2 THEN 'delivered' ELSE 'sent' END AS status
FROM members WHERE conversation_id = $1 AND user_id <> $3 AND {_COUNTED} AND joined_seq < $2
ORDER BY user_id LIMIT {NAMED_UP_TO}
"""


class Status(StrEnum):
    """`sent → delivered → read`; in a group once all other members have received, or read, it."""

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Hindmost:
    """Who of a conversation is furthest behind: enough to know the status of any message in it."""

    delivered: Sequence[tuple[str, int]]
    read: Sequence[tuple[str, int]]

    def status(self, message: ChatMessage) -> Status:
        """What has become of the message."""
        if _all_beyond(self.read, message):
            return Status.READ
        return Status.DELIVERED if _all_beyond(self.delivered, message) else Status.SENT


@dataclass(frozen=True, slots=True)
class Receipts:
    """How many of the others have a message, and who."""

    members: int
    """The others who were there when it was sent, and are there now; of two users the other one."""
    delivered: int
    """Those who have received it, whether they have read it or not."""
    read: int
    by: Sequence[tuple[str, Status]] | None
    """Each of them; None in conversations of more than NAMED_UP_TO."""


async def find_hindmost(database: "Pool | Connection", conversation_id: int) -> Hindmost:
    """Of this conversation, as it is now."""
    rows = await database.fetch(HINDMOST, conversation_id)
    return Hindmost(
        *([(row["user_id"], row["seq"]) for row in rows if row["read"] is of] for of in (False, True))
    )


async def find_receipts(pool: Pool, message: ChatMessage, *, member_count: int) -> Receipts:
    """Of this message, as of now."""
    which = message.conversation_id, message.seq, message.sender_id
    row = await pool.fetchrow(COUNTS, *which)
    assert row is not None
    by = await pool.fetch(NAMES, *which) if member_count <= NAMED_UP_TO else None
    return Receipts(
        row["members"],
        row["delivered"],
        row["read"],
        None if by is None else [(one["user_id"], Status(one["status"])) for one in by],
    )


def _all_beyond(hindmost: Sequence[tuple[str, int]], message: ChatMessage) -> bool:
    others = [seq for user_id, seq in hindmost if user_id != message.sender_id]
    return bool(others) and min(others) >= message.seq
