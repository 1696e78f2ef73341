"""What the service shows: messages, conversations, members, users, receipts; and how far a client has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

Status = Literal["sent", "delivered", "read"]
Kind = Literal["dm", "group"]
Role = Literal["owner", "admin", "member"]


@dataclass(frozen=True, slots=True)
class Message:
    """A chat message."""

    id: int
    """Rises in its conversation; unique only there."""
    conversation_id: int
    seq: int
    """Its number in the conversation, from 1, without gaps."""
    sender_id: str
    content: str
    """Empty once deleted."""
    timestamp: datetime
    """When it was sent, by the service's clock."""
    client_id: str | None
    """The id that its sender's client gave it; for the sender alone."""
    client_timestamp: datetime | None
    edited_at: datetime | None
    deleted_at: datetime | None
    status: Status | None
    """As it was when it was read over REST; None where it came over the socket: `Receipts` tell it there."""

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Self:
        """From the service's JSON."""
        return cls(
            id=int(shown["id"]),
            conversation_id=shown["conversation_id"],
            seq=shown["seq"],
            sender_id=shown["sender_id"],
            content=shown["content"],
            timestamp=datetime.fromisoformat(shown["timestamp"]),
            client_id=shown.get("client_id"),
            client_timestamp=_moment(shown.get("client_timestamp")),
            edited_at=_moment(shown.get("edited_at")),
            deleted_at=_moment(shown.get("deleted_at")),
            status=shown.get("status"),
        )


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A message that will be sent later."""

    scheduled_id: int
    conversation_id: int
    content: str
    timestamp: datetime
    """When it is to be sent."""


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in the order of their conversation, oldest first."""

    messages: Sequence[Message]
    older: int | None
    """For `before`: leads to the page before this one; None when there is none."""
    newer: int | None
    """For `after`: leads to the page behind this one; None when there is none."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, as one of its members sees it."""

    id: int
    kind: Kind
    peer_id: str | None
    """The other one of two users."""
    name: str | None
    role: Role
    joined_seq: int
    """Messages up to here are from before this user came in; 0 where it was read over REST."""
    last_seq: int
    last_change: int
    delivered_seq: int
    """How far this user has received."""
    read_seq: int
    unread: int
    closed: bool
    peer_delivered_seq: int | None
    """How far the other one of two users has received; None in groups, and where it was read over REST."""
    peer_read_seq: int | None

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Self:
        """From the service's JSON."""
        return cls(
            id=shown["id"],
            kind=shown["kind"],
            peer_id=shown["peer_id"],
            name=shown["name"],
            role=shown["role"],
            joined_seq=shown.get("joined_seq", 0),
            last_seq=shown["last_seq"],
            last_change=shown["last_change"],
            delivered_seq=shown["delivered_seq"],
            read_seq=shown["read_seq"],
            unread=shown["unread"],
            closed=shown["closed"],
            peer_delivered_seq=shown.get("peer_delivered_seq"),
            peer_read_seq=shown.get("peer_read_seq"),
        )


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may talk."""

    id: str
    name: str | None
    created_at: datetime

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Self:
        """From the service's JSON."""
        return cls(shown["id"], shown["name"], datetime.fromisoformat(shown["created_at"]))


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a group."""

    user_id: str
    role: Role
    name: str | None
    delivered_seq: int
    read_seq: int

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Self:
        """From the service's JSON."""
        return cls(shown["user_id"], shown["role"], shown["name"], shown["delivered_seq"], shown["read_seq"])


@dataclass(frozen=True, slots=True)
class MessageReceipts:
    """How many of the others have a message, and who."""

    members: int
    delivered: int
    read: int
    by: Mapping[str, Status] | None
    """By user; None in large groups."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a client has come in one conversation. Kept and given back, it goes on from there."""

    seq: int
    """Its last message."""
    change: int = 0
    """Its last edit or deletion."""
    id: int = 0
    """The last message's id; 0 when it is not known."""


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
