"""Snapshot: where all conversations of a user stand, and whether those that are followed still stand there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dispatcher.chat.message import COLUMNS as OF_MESSAGE
from dispatcher.chat.message import ChatMessage
from dispatcher.chat.seat import COLUMNS as OF_SEAT
from dispatcher.chat.seat import Seat
from dispatcher.kernel.db import Pool

MAX_FOLLOWED = 5000
"""Conversations of one user that are followed, the latest active ones."""

GROUPS = f"""
SELECT c.id FROM members m JOIN conversations c ON c.id = m.conversation_id
WHERE m.user_id = $1 AND m.left_seq IS NULL AND c.kind = 'group' LIMIT {MAX_FOLLOWED}
"""
STANDINGS = f"""
SELECT {OF_SEAT}, peer.delivered_seq AS peer_delivered_seq, peer.read_seq AS peer_read_seq
FROM members m JOIN conversations c ON c.id = m.conversation_id
LEFT JOIN members peer ON peer.conversation_id = c.id AND c.kind = 'dm'
    AND peer.user_id = CASE WHEN c.low_user = $1 THEN c.high_user ELSE c.low_user END
WHERE m.user_id = $1 AND m.left_seq IS NULL
ORDER BY c.last_id DESC LIMIT {MAX_FOLLOWED}
"""
STILL_IN = """
SELECT conversation_id FROM members WHERE user_id = $1 AND conversation_id = ANY($2) AND left_seq IS NULL
"""
# What is behind a seq are the newest `last_seq - seq`: no index by seq is needed. One statement sees one moment.
BEHIND = f"""
SELECT {", ".join(f"x.{name}" for name in OF_MESSAGE.split(", "))}
FROM unnest($1::bigint[], $2::bigint[]) AS g (conversation_id, seq)
JOIN conversations c ON c.id = g.conversation_id
CROSS JOIN LATERAL (
    SELECT {OF_MESSAGE} FROM chat_messages
    WHERE conversation_id = g.conversation_id AND id <= c.last_id
    ORDER BY id DESC LIMIT least(greatest(c.last_seq - g.seq, 0), $3)
) x
"""
CHANGES = f"""
SELECT {", ".join(f"x.{name}" for name in OF_MESSAGE.split(", "))}
FROM unnest($1::bigint[], $2::bigint[]) AS g (conversation_id, change)
CROSS JOIN LATERAL (
    SELECT {OF_MESSAGE} FROM chat_messages
    WHERE conversation_id = g.conversation_id AND change > g.change ORDER BY change LIMIT $3
) x
"""
HEADS = "SELECT id, last_seq, last_change FROM conversations WHERE id = ANY($1)"
MARKS = (
    "SELECT conversation_id, user_id, delivered_seq, read_seq FROM members WHERE conversation_id = ANY($1)"
)
MEMBERSHIPS = """
SELECT user_id, count(*) AS count, sum(conversation_id)::text AS ids, sum(joined_seq)::text AS joined
FROM members WHERE user_id = ANY($1) AND left_seq IS NULL GROUP BY user_id
"""
REMOVED = "SELECT id FROM users WHERE id = ANY($1) AND deleted_at IS NOT NULL"
USER = "SELECT EXISTS (SELECT FROM users WHERE id = $1 AND deleted_at IS NULL)"


@dataclass(frozen=True, slots=True)
class Standing:
    """One conversation of a user, and how far its other user has received and read; None in groups."""

    seat: Seat
    peer_marks: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A conversation of which more is wanted, behind this `seq` or `change`."""

    conversation_id: int
    number: int


async def is_user(pool: Pool, user_id: str) -> bool:
    """Whether there is such a user."""
    there: bool = await pool.fetchval(USER, user_id)
    return there


async def removed(pool: Pool, user_ids: Iterable[str]) -> Sequence[str]:
    """Which of these are users no longer."""
    return [row["id"] for row in await pool.fetch(REMOVED, list(user_ids))]


async def groups_of(pool: Pool, user_id: str) -> list[int]:
    """The groups that the user is in."""
    return [row["id"] for row in await pool.fetch(GROUPS, user_id)]


async def standings(pool: Pool, user_id: str) -> list[Standing]:
    """The user's conversations, the latest active first."""
    return [
        Standing(
            Seat.of(row),
            None if row["peer_delivered_seq"] is None else (row["peer_delivered_seq"], row["peer_read_seq"]),
        )
        for row in await pool.fetch(STANDINGS, user_id)
    ]


async def still_in(pool: Pool, user_id: str, conversation_ids: Iterable[int]) -> set[int]:
    """In which of these the user is."""
    return {row["conversation_id"] for row in await pool.fetch(STILL_IN, user_id, list(conversation_ids))}


async def behind(
    pool: Pool, wanted: Sequence[Wanted], *, at_most: int
) -> Mapping[int, Sequence[ChatMessage]]:
    """By conversation, in order: all messages behind that seq, or the newest `at_most` where there are more."""
    return await _of_each(pool, BEHIND, wanted, at_most)


async def changes(
    pool: Pool, wanted: Sequence[Wanted], *, at_most: int
) -> Mapping[int, Sequence[ChatMessage]]:
    """By conversation, in order of change: what was changed behind that change, the oldest `at_most` of them."""
    return await _of_each(pool, CHANGES, wanted, at_most)


async def _of_each(
    pool: Pool, statement: str, wanted: Sequence[Wanted], at_most: int
) -> Mapping[int, Sequence[ChatMessage]]:
    if not wanted:
        return {}
    rows = await pool.fetch(
        statement,
        [one.conversation_id for one in wanted],
        [one.number for one in wanted],
        at_most,
    )
    found: dict[int, list[ChatMessage]] = {one.conversation_id: [] for one in wanted}
    for row in rows:
        found[row["conversation_id"]].append(ChatMessage.of(row))
    by_change = statement is CHANGES
    for messages in found.values():
        messages.sort(key=lambda one: (one.change or 0) if by_change else one.seq)
    return found


async def heads(pool: Pool, conversation_ids: Iterable[int]) -> Mapping[int, tuple[int, int]]:
    """Of each conversation its last seq and its last change."""
    rows = await pool.fetch(HEADS, list(conversation_ids))
    return {row["id"]: (row["last_seq"], row["last_change"]) for row in rows}


async def marks(pool: Pool, conversation_ids: Iterable[int]) -> Sequence[tuple[int, str, int, int]]:
    """How far the members of these conversations have received and read."""
    return [tuple(row) for row in await pool.fetch(MARKS, list(conversation_ids))]


async def memberships(pool: Pool, user_ids: Iterable[str]) -> Mapping[str, tuple[int, int, int]]:
    """A fingerprint of each user's memberships: their count, and the sums of conversations and of places of joining."""
    rows = await pool.fetch(MEMBERSHIPS, list(user_ids))
    return {row["user_id"]: (row["count"], int(row["ids"]), int(row["joined"])) for row in rows}


def fingerprint(of: Sequence[Standing]) -> tuple[int, int, int]:
    """The same of a snapshot."""
    return (
        len(of),
        sum(one.seat.conversation_id for one in of),
        sum(one.seat.joined_seq for one in of),
    )
