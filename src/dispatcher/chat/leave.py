"""Leave: a member goes out of conversations, and an owner leaves each group to whoever comes next.

Rows are locked in one order everywhere: users, conversations by id, members by conversation and user.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.chat.seat import Kind
from dispatcher.kernel.db import Connection

# The next owner is the admin who has been there longest, or else the member.
_LEAVE = """
WITH seats AS MATERIALIZED (
    SELECT m.conversation_id, m.user_id, c.kind, c.last_seq, heir.user_id AS heir
    FROM members m JOIN conversations c ON c.id = m.conversation_id
    LEFT JOIN LATERAL (
        SELECT other.user_id FROM members other
        WHERE m.role = 'owner' AND other.conversation_id = c.id AND other.left_seq IS NULL AND other.user_id <> $2
        ORDER BY (other.role = 'admin') DESC, other.joined_seq, other.user_id LIMIT 1
    ) heir ON true
    WHERE m.user_id = $2 AND m.conversation_id = ANY($1) AND m.left_seq IS NULL
), held AS MATERIALIZED (
    SELECT m.*, who.last_seq FROM (
        SELECT conversation_id, user_id, last_seq FROM seats
        UNION ALL SELECT conversation_id, heir, NULL FROM seats WHERE heir IS NOT NULL
        ORDER BY conversation_id, user_id
    ) who, LATERAL (
        SELECT m.conversation_id, m.user_id FROM members m
        WHERE m.conversation_id = who.conversation_id AND m.user_id = who.user_id FOR NO KEY UPDATE
    ) m
), gone AS (
    UPDATE members m SET left_seq = held.last_seq, role = 'member' FROM held
    WHERE m.conversation_id = held.conversation_id AND m.user_id = held.user_id AND held.last_seq IS NOT NULL
), followed AS (
    UPDATE members m SET role = 'owner' FROM held
    WHERE m.conversation_id = held.conversation_id AND m.user_id = held.user_id AND held.last_seq IS NULL
), counted AS (
    UPDATE conversations c SET member_count = c.member_count - 1,
                               closed_at = CASE WHEN c.kind = 'dm' THEN now() ELSE c.closed_at END
    FROM seats WHERE c.id = seats.conversation_id
)
SELECT conversation_id, kind, heir FROM seats ORDER BY conversation_id
"""


@dataclass(frozen=True, slots=True)
class Left:
    """What has become of a conversation that somebody left."""

    conversation_id: int
    kind: Kind
    heir: str | None
    """Who owns it now, if that changed."""


async def leave(connection: Connection, conversation_ids: Sequence[int], user_id: str) -> list[Left]:
    """Take the user out of these, whose rows are locked, and close those of two users. Those they were in."""
    rows = await connection.fetch(_LEAVE, conversation_ids, user_id)
    return [Left(**row) for row in rows]
