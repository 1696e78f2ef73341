"""Mark: how far a member has received, and read. Forward only; what was read was received.

A watermark a member, not a row a message and recipient: what it costs does not grow with the messages, and 10,000
messages are read by one write. `delivered` is what the client acknowledged, never that bytes went to a socket.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.chat.happened import Marked
from dispatcher.kernel.db import Pool

# A member's row is locked in one order everywhere: `send.py` holds several too. LATERAL, because a join and an ORDER BY
# over it would have the planner walk over all members there are, for the sake of their order.
MARK = """
WITH given AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
        AS g (conversation_id, user_id, delivered, read, no)
), held AS MATERIALIZED (
    SELECT who.*, m.* FROM (
        SELECT conversation_id AS place, user_id AS who, delivered, read, no FROM given ORDER BY conversation_id, user_id
    ) who, LATERAL (
        SELECT m.conversation_id, m.user_id, m.delivered_seq, m.read_seq, m.pushed_seq, m.left_seq FROM members m
        WHERE m.conversation_id = who.place AND m.user_id = who.who FOR NO KEY UPDATE
    ) m
), seen AS (
    -- a send that this had to wait for has moved the member, but not the conversation as this statement sees it
    SELECT held.*, greatest(c.last_seq, held.delivered_seq) AS last_seq,
           greatest(held.delivered_seq, held.delivered, held.read) AS delivered_now,
           greatest(held.read_seq, held.read) AS read_now
    FROM held JOIN conversations c ON c.id = held.conversation_id
), judged AS (
    SELECT *, left_seq IS NULL AND delivered_now <= last_seq
              AND (delivered_now, read_now) <> (delivered_seq, read_seq) AS moved FROM seen
), moved AS (
    UPDATE members m SET
        delivered_seq = j.delivered_now, read_seq = j.read_now,
        delivered_at = CASE WHEN j.delivered_now > j.delivered_seq THEN now() ELSE m.delivered_at END,
        read_at = CASE WHEN j.read_now > j.read_seq THEN now() ELSE m.read_at END
    FROM judged j WHERE j.moved AND m.conversation_id = j.conversation_id AND m.user_id = j.user_id
), due AS ( -- who was called, and has now received that but not what came since: `push.py` has to look again
    INSERT INTO chat_push_due AS d (conversation_id, since, seq)
    SELECT conversation_id, now(), max(last_seq) FROM judged
    WHERE moved AND delivered_seq < pushed_seq AND pushed_seq <= delivered_now AND delivered_now < last_seq
    GROUP BY conversation_id ORDER BY conversation_id
    ON CONFLICT (conversation_id) DO UPDATE SET marks = d.marks + 1
)
SELECT no, left_seq IS NOT NULL AS has_left, last_seq, delivered_seq, read_seq, delivered_now, read_now, moved FROM judged
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far this member has received and read, as the client says; None says nothing about it."""

    conversation_id: int
    user_id: str
    delivered: int | None = None
    read: int | None = None


@dataclass(frozen=True, slots=True)
class NoSeat:
    """The user is no member of the conversation."""

    was_member: bool


@dataclass(frozen=True, slots=True)
class TooHigh:
    """Nothing with that number has been sent yet; no watermark has moved."""

    last_seq: int


@dataclass(frozen=True, slots=True)
class Marks:
    """The watermarks, as they are now."""

    delivered_seq: int
    read_seq: int
    moved: bool
    """False when they were that far already, or further: a late or repeated mark changes nothing."""


async def mark(pool: Pool, marks: Sequence[Mark]) -> list[Marks | TooHigh | NoSeat]:
    """Move the watermarks of these members, each at most once, in one statement. What came of each, in order."""
    rows = await pool.fetch(
        MARK,
        [one.conversation_id for one in marks],
        [one.user_id for one in marks],
        [one.delivered for one in marks],
        [one.read for one in marks],
    )
    found = {int(row["no"]): row for row in rows}
    outcomes: list[Marks | TooHigh | NoSeat] = []
    for no in range(1, len(marks) + 1):
        row = found.get(no)
        if row is None or row["has_left"]:
            outcomes.append(NoSeat(was_member=row is not None))
        elif row["delivered_now"] > row["last_seq"]:
            outcomes.append(TooHigh(row["last_seq"]))
        else:
            outcomes.append(Marks(row["delivered_now"], row["read_now"], row["moved"]))
    return outcomes


def happened(one: Mark, marks: Marks) -> Marked:
    """What to tell of a mark that moved."""
    return Marked(one.conversation_id, one.user_id, marks.delivered_seq, marks.read_seq)
