"""The messages table, the attempts made for each message, and the states a message can be in."""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    false,
    func,
    text,
)

from dispatcher.kernel.schema import metadata

WEBHOOK_CONTENT_LENGTH = 160
"""Characters of content that the webhook lane takes: one text message."""
CONTENT_LENGTH = 4096
"""Characters of content that any lane takes."""
RECIPIENT_LENGTH = 320
"""Characters of a recipient; the longest e-mail address has as many."""


class State(StrEnum):
    """`pending → sending → sent | failed | uncertain`, and `cancelled`."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    CANCELLED = "cancelled"


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


messages = Table(
    "messages",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("lane", Text, nullable=False, server_default="webhook"),
    Column("recipient_phone", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=State.PENDING),
    Column("sent_status", Boolean, nullable=False, server_default=false()),
    Column("sent_at", DateTime(timezone=True)),
    Column("deliver_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempt_count", SmallInteger, nullable=False, server_default=text("0")),
    Column("lease_id", Uuid),
    Column("leased_until", DateTime(timezone=True)),
    Column("receipt_id", Text),
    Column("last_error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(
        f"recipient_phone <> '' AND char_length(recipient_phone) <= {RECIPIENT_LENGTH}", name="recipient"
    ),
    CheckConstraint(
        f"char_length(content) BETWEEN 1 AND CASE lane WHEN 'webhook' THEN {WEBHOOK_CONTENT_LENGTH} "
        f"ELSE {CONTENT_LENGTH} END",
        name="content_length",
    ),
    CheckConstraint(_one_of("state", State), name="state"),
    CheckConstraint("sent_status = (state = 'sent')", name="sent_status"),
    CheckConstraint("(sent_at IS NOT NULL) = (state = 'sent')", name="sent_at"),
    CheckConstraint(
        "(lease_id IS NOT NULL) = (state = 'sending') AND (leased_until IS NOT NULL) = (state = 'sending')",
        name="lease",
    ),
    # What is unsent and may be claimed, in the order it is claimed in.
    Index("messages_due", "lane", "deliver_at", "id", postgresql_where=text("state = 'pending'")),
    # What the rescuer looks through: never longer than what is being sent.
    Index("messages_leased", "leased_until", postgresql_where=text("state = 'sending'")),
    # The list of sent messages, newest first, page by page.
    Index("messages_sent", "lane", "sent_at", "id", postgresql_where=text("state = 'sent'")),
    # What a person looks at and decides about.
    Index(
        "messages_ended",
        "lane",
        "state",
        "id",
        postgresql_where=text("state IN ('failed', 'uncertain', 'cancelled')"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    # No foreign key: it would cost a lock on the message's row for every attempt, to guard against a delete
    # that nothing here does.
    Column("message_id", BigInteger, nullable=False),
    Column("number", SmallInteger, nullable=False),
    Column("tick_no", BigInteger),
    Column("replica", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", SmallInteger),
    Column("error", Text),
    Column("response_excerpt", Text),
    PrimaryKeyConstraint("message_id", "number"),
    CheckConstraint("outcome IN ('delivered', 'retry', 'rejected', 'interrupted')", name="outcome"),
)
