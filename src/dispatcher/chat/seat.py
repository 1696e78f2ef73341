"""A user's seat in a conversation: what both are, in one look, and who may not look at all."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import asyncpg

from dispatcher.kernel.db import Connection, Pool
from dispatcher.kernel.errors import ForbiddenError, NotFoundError

Kind = Literal["dm", "group"]
Role = Literal["owner", "admin", "member"]

COLUMNS = """c.id, c.kind, c.low_user, c.high_user, c.name, c.last_seq, c.last_id, c.last_change, c.member_count,
             c.created_at, c.closed_at, m.user_id, m.role, m.joined_seq, m.joined_id, m.left_seq,
             m.delivered_seq, m.read_seq, m.muted"""
SEAT = f"""
SELECT {COLUMNS} FROM conversations c JOIN members m ON m.conversation_id = c.id WHERE c.id = $1 AND m.user_id = $2
"""


@dataclass(frozen=True, slots=True)
class Seat:
    """A conversation as one of its members sees it."""

    conversation_id: int
    kind: Kind
    name: str | None
    """Of a group."""
    peer: str | None
    """The other one of two users."""
    last_seq: int
    last_id: int
    last_change: int
    member_count: int
    created_at: datetime
    closed_at: datetime | None
    """Since when nobody can send: the group, or the other user, is gone."""
    user_id: str
    role: Role
    joined_seq: int
    joined_id: int
    """Messages with a greater id are there to be seen."""
    delivered_seq: int
    read_seq: int
    muted: bool

    @property
    def unread(self) -> int:
        """Messages behind the last one read."""
        return self.last_seq - self.read_seq

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Seat":
        """From a row that has COLUMNS."""
        low, high, me = row["low_user"], row["high_user"], row["user_id"]
        return cls(
            conversation_id=row["id"],
            kind=row["kind"],
            name=row["name"],
            peer=high if low == me else low,
            last_seq=row["last_seq"],
            last_id=row["last_id"],
            last_change=row["last_change"],
            member_count=row["member_count"],
            created_at=row["created_at"],
            closed_at=row["closed_at"],
            user_id=me,
            role=row["role"],
            joined_seq=row["joined_seq"],
            joined_id=row["joined_id"],
            delivered_seq=row["delivered_seq"],
            read_seq=row["read_seq"],
            muted=row["muted"],
        )


async def find_seat(
    database: "Pool | Connection", conversation_id: int, user_id: str, *, what: str = "conversation"
) -> Seat:
    """This user's seat; `what` is what the errors call the conversation.

    Raises:
        NotFoundError: There is no such conversation, as far as this user may know.
        ForbiddenError: The user was a member, and is no longer.
    """
    row = await database.fetchrow(SEAT, conversation_id, user_id)
    if row is None:
        raise NotFoundError(f"there is no {what} {conversation_id}")
    if row["left_seq"] is not None:
        raise ForbiddenError(f"{user_id} is no longer a member of {what} {conversation_id}")
    return Seat.of(row)
