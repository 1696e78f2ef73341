"""What people and programs read: users, groups, conversations, chat messages, receipts."""

from datetime import datetime

from pydantic import BaseModel, Field

from dispatcher.chat.group_members import Member
from dispatcher.chat.history import Page
from dispatcher.chat.inbox import Entry
from dispatcher.chat.mark import Marks
from dispatcher.chat.message import ChatMessage
from dispatcher.chat.schedule import Outcome, Scheduled
from dispatcher.chat.seat import Kind, Role, Seat
from dispatcher.chat.status import Hindmost, Receipts, Status
from dispatcher.chat.users import User


class UserView(BaseModel):
    """A user."""

    id: str
    name: str | None
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> "UserView":
        """The view."""
        return cls(id=user.id, name=user.name, created_at=user.created_at)


class ChatMessageView(BaseModel):
    """A chat message."""

    id: str = Field(description="A number, as text: it has more digits than JavaScript's numbers.")
    conversation_id: int
    seq: int = Field(description="Its number in the conversation, from 1, without gaps.")
    sender_id: str
    receiver_id: str | None = Field(description="The other user, outside of groups.")
    group_id: int | None
    content: str = Field(description="Empty once deleted.")
    status: Status | None = Field(
        description="In a group: once all others have received it, or read it. null in lists of conversations."
    )
    timestamp: datetime = Field(description="When it was sent, by the service's clock.")
    client_timestamp: datetime | None = Field(description="When it was written, as the client said.")
    client_id: str | None
    edited_at: datetime | None
    deleted_at: datetime | None

    @classmethod
    def of(
        cls, message: ChatMessage, *, me: str, peer: str | None, status: Status | None
    ) -> "ChatMessageView":
        """The view that user `me` has, who talks to `peer`, or in a group."""
        return cls(
            id=str(message.id),
            conversation_id=message.conversation_id,
            seq=message.seq,
            sender_id=message.sender_id,
            receiver_id=None if peer is None else peer if message.sender_id == me else me,
            group_id=message.conversation_id if peer is None else None,
            content=message.content,
            status=status,
            timestamp=message.sent_at,
            client_timestamp=message.client_at,
            client_id=message.client_id if message.sender_id == me else None,
            edited_at=message.edited_at,
            deleted_at=message.deleted_at,
        )


class PageView(BaseModel):
    """Messages in the order of the conversation, oldest first."""

    messages: list[ChatMessageView]
    older: str | None = Field(
        description="For `before`: leads to the page before this one; null when there is none."
    )
    newer: str | None = Field(
        description="For `after`: leads to the page behind this one; null when there is none."
    )

    @classmethod
    def of(cls, page: Page, seat: Seat, hindmost: Hindmost) -> "PageView":
        """The view that the seat's user has."""
        views = [
            ChatMessageView.of(one, me=seat.user_id, peer=seat.peer, status=hindmost.status(one))
            for one in page.messages
        ]
        return cls(
            messages=views,
            older=views[0].id if views and page.older else None,
            newer=views[-1].id if views and page.newer else None,
        )


class ScheduledView(BaseModel):
    """A message that is sent later."""

    scheduled_id: int = Field(description="Its number among the operator's messages.")
    conversation_id: int
    sender_id: str
    content: str
    status: Outcome = Field(default="scheduled", description="In answers to a repeat: what has become of it.")
    timestamp: datetime = Field(description="When it is to be sent.")

    @classmethod
    def of(cls, scheduled: Scheduled, conversation_id: int, sender_id: str) -> "ScheduledView":
        """The view."""
        return cls(
            scheduled_id=scheduled.message_id,
            conversation_id=conversation_id,
            sender_id=sender_id,
            content=scheduled.content,
            status=scheduled.outcome,
            timestamp=scheduled.at,
        )


class ScheduledListView(BaseModel):
    """What waits, soonest first."""

    scheduled: list[ScheduledView]


class ConversationView(BaseModel):
    """A conversation, as one of its members sees it."""

    id: int
    kind: Kind
    peer_id: str | None = Field(description="The other one of two users.")
    name: str | None = Field(description="The group's, or the other user's.")
    role: Role
    member_count: int
    last_seq: int = Field(description="The number of its latest message.")
    last_change: int = Field(description="The number of its latest edit or deletion.")
    delivered_seq: int = Field(description="How far you have received.")
    read_seq: int = Field(description="How far you have read.")
    unread: int
    muted: bool
    closed: bool = Field(description="Nobody can send any more.")
    created_at: datetime
    last_message: ChatMessageView | None = Field(default=None, description="In lists.")

    @classmethod
    def of(cls, seat: Seat, entry: Entry | None = None) -> "ConversationView":
        """The view."""
        last = entry.last if entry else None
        return cls(
            id=seat.conversation_id,
            kind=seat.kind,
            peer_id=seat.peer,
            name=seat.name or (entry.peer_name if entry else None),
            role=seat.role,
            member_count=seat.member_count,
            last_seq=seat.last_seq,
            last_change=seat.last_change,
            delivered_seq=seat.delivered_seq,
            read_seq=seat.read_seq,
            unread=seat.unread,
            muted=seat.muted,
            closed=seat.closed_at is not None,
            created_at=seat.created_at,
            last_message=None
            if last is None
            else ChatMessageView.of(last, me=seat.user_id, peer=seat.peer, status=None),
        )


class InboxView(BaseModel):
    """Conversations, the latest active first."""

    conversations: list[ConversationView]
    next: str | None = Field(description="For `cursor`: leads to the next page; null when there is none.")


class MemberView(BaseModel):
    """A member of a group."""

    user_id: str
    role: Role
    name: str | None
    delivered_seq: int
    read_seq: int

    @classmethod
    def of(cls, member: Member) -> "MemberView":
        """The view."""
        return cls.model_validate(member, from_attributes=True)


class MarksView(BaseModel):
    """How far you have received and read."""

    delivered_seq: int
    read_seq: int
    moved: bool = Field(description="False when you were that far already, or further.")

    @classmethod
    def of(cls, marks: Marks) -> "MarksView":
        """The view."""
        return cls.model_validate(marks, from_attributes=True)


class ReceiptOf(BaseModel):
    """What one member has of a message."""

    user_id: str
    status: Status


class ReceiptsView(BaseModel):
    """How many of the others have a message."""

    members: int = Field(description="The others who were there when it was sent, and are there now.")
    delivered: int = Field(description="Those who have received it, whether they have read it or not.")
    read: int
    by: list[ReceiptOf] | None = Field(description="Each of them; null in groups of more than 256.")

    @classmethod
    def of(cls, receipts: Receipts) -> "ReceiptsView":
        """The view."""
        by = receipts.by
        return cls(
            members=receipts.members,
            delivered=receipts.delivered,
            read=receipts.read,
            by=None if by is None else [ReceiptOf(user_id=who, status=status) for who, status in by],
        )
