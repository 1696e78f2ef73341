"""The messages table, the attempts made for each message, and the keys that requests came with.

`messages` is one table to whoever reads it or inserts into it. Postgres keeps its rows apart by state, and a change of
state moves the row: what was sent, however much, does not make the search for what is due any longer.

| part | holds | indexes |
|---|---|---|
| `messages_pending` | `pending` | `due` (lane, priority, deliver_at, id): what is claimed, in the order of claiming; `id`; `recipient` (lane, recipient_phone, deliver_at, id) |
| `messages_sending` | `sending`: never more than what is on the wire | `id`; `leased` (leased_until): what the rescuer looks through |
| `messages_held` | `failed`, `uncertain`, `cancelled` | `state` (lane, state, held_at, id); `id`; `recipient` (lane, state, recipient_phone, held_at, id); `since` (held_at) |
| `messages_sent_YYYYMMDD` | `sent`, by day of `sent_at` in UTC | `newest` (lane, sent_at, id); `id`; `recipient` (lane, recipient_phone, sent_at, id) |

In the first two indexes of `messages_held`, `created_at` stands in where there is no `held_at`. `attempts` is kept by day
as well. `retention.py` makes the days ahead of time and drops those that are too old. No
uniqueness is declared over all parts: ids come from one sequence, and no move makes two rows of one.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    false,
    func,
    text,
)

from dispatcher.kernel.schema import metadata
from dispatcher.messages.limits import CONTENT_LENGTH, RECIPIENT_LENGTH, WEBHOOK_CONTENT_LENGTH
from dispatcher.messages.state import Priority, State

messages = Table(
    "messages",
    metadata,
    Column("id", BigInteger, Identity(always=False), nullable=False),
    Column("lane", Text, nullable=False, server_default="webhook"),
    Column("recipient_phone", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=State.PENDING),
    Column("sent_status", Boolean, nullable=False, server_default=false()),
    Column("sent_at", DateTime(timezone=True)),
    Column("priority", SmallInteger, nullable=False, server_default=text(str(int(Priority.NORMAL)))),
    Column("deliver_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempt_count", SmallInteger, nullable=False, server_default=text("0")),
    Column("lease_id", Uuid),
    Column("leased_until", DateTime(timezone=True)),
    Column("receipt_id", Text),
    Column("last_error", Text),
    Column("held_at", DateTime(timezone=True)),  # since when it is failed, uncertain or cancelled
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column(
        "attempts_before", SmallInteger, nullable=False, server_default=text("0")
    ),  # `retry.py` says what for
    Column("reserved", Boolean, nullable=False, server_default=false()),  # `begin.py` says what for
    CheckConstraint(
        f"recipient_phone <> '' AND char_length(recipient_phone) <= {RECIPIENT_LENGTH}", name="recipient"
    ),
    CheckConstraint(
        f"char_length(content) BETWEEN 1 AND CASE lane WHEN 'webhook' THEN {WEBHOOK_CONTENT_LENGTH} "
        f"ELSE {CONTENT_LENGTH} END",
        name="content_length",
    ),
    CheckConstraint(f"priority BETWEEN {min(Priority):d} AND {max(Priority):d}", name="priority"),
    CheckConstraint("sent_status = (state = 'sent')", name="sent_status"),
    CheckConstraint("(sent_at IS NOT NULL) = (state = 'sent')", name="sent_at"),
    CheckConstraint(
        "(lease_id IS NOT NULL) = (state = 'sending') AND (leased_until IS NOT NULL) = (state = 'sending')",
        name="lease",
    ),
    postgresql_partition_by="LIST (state)",
)

attempts = Table(
    "attempts",
    metadata,
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
    Column("settled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("outcome IN ('delivered', 'retry', 'rejected', 'interrupted')", name="outcome"),
    # No foreign key: it would cost a lock on the message's row for every attempt, to guard against a delete
    # that nothing here does. No primary key either: it would have to hold the day.
    Index("attempts_message", "message_id", "number"),
    postgresql_partition_by="RANGE (settled_at)",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", SmallInteger),
    Column("location", Text),
    Column("body", LargeBinary),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("idempotency_keys_created_at", "created_at"),
    # A row is written twice, with its claim and with its answer: with room on its page the second is cheap.
    postgresql_with={"fillfactor": 50},
)
