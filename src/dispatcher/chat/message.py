"""One chat message as it is stored."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from dispatcher.chat.ids import sent_at

COLUMNS = "conversation_id, id, seq, sender_id, client_id, content, client_at, edited_at, deleted_at, change"
"""What `ChatMessage` is made of, in its order."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One chat message."""

    conversation_id: int
    id: int
    """Its place in time; unique in its conversation."""
    seq: int
    """Its number in its conversation, from 1, without gaps."""
    sender_id: str
    client_id: str | None
    """The sender's own id for it: a repeat is not a second message."""
    content: str
    """Empty once deleted."""
    client_at: datetime | None = None
    """When it was written, as the client says."""
    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    change: int | None = None
    """The number of its latest edit or deletion among those of its conversation."""

    @property
    def sent_at(self) -> datetime:
        """When it was sent, by Postgres's clock."""
        return sent_at(self.id)

    @classmethod
    def of(cls, row: asyncpg.Record) -> "ChatMessage":
        """From a row that has COLUMNS."""
        return cls(*(row[name] for name in _NAMES))


_NAMES = COLUMNS.split(", ")
