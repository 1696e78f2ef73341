"""The tables of chat. Postgres owns the order: a conversation's row hands out `seq`, `id` and `change` under its lock.

| table | holds |
|---|---|
| `users` | whoever may talk; ids are the application's own, the `sub` of its tokens |
| `conversations` | two users, or a group; `last_seq` is the number of its latest chat message, `last_id` that one's id |
| `members` | who is in which conversation, since when, and how far each has received and read (the watermarks) |
| `chat_messages` | by month of `id`: `chat_messages_YYYYMM` |
| `chat_push_due` | the conversations that something was sent into just now: who has not received it? `push.py` |

- `seq` is dense in its conversation, from 1: what is missing between two of them is missing.
- `id` holds the time of sending (`ids.py`), rises strictly in its conversation and is unique only there.
- `change` numbers edits and deletions of a conversation, so that whoever was away can ask for those it missed.
- `0 <= read_seq <= delivered_seq <= last_seq`, and none of them ever goes back. No index holds a watermark, so that
  writing one touches a single row.
- A member was called for what is up to `pushed_seq`, and is called again once `delivered_seq` is as far.
- A member sees the messages behind `joined_id`; with a `left_seq` it is a former member, and sees nothing.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)

from dispatcher.chat.limits import CONTENT_LENGTH
from dispatcher.kernel.schema import metadata

_ID = Text(collation="C")  # compared byte by byte: as fast as can be, and the order that Python has too
_ZERO = text("0")
_MOMENT = DateTime(timezone=True)

users = Table(
    "users",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", Text),
    Column("created_at", _MOMENT, nullable=False, server_default=func.now()),
    Column("deleted_at", _MOMENT),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("low_user", _ID),
    Column("high_user", _ID),
    Column("name", Text),
    Column("last_seq", BigInteger, nullable=False, server_default=_ZERO),
    Column("last_id", BigInteger, nullable=False),
    Column("last_change", BigInteger, nullable=False, server_default=_ZERO),
    Column("member_count", Integer, nullable=False, server_default=_ZERO),
    Column("created_at", _MOMENT, nullable=False, server_default=func.now()),
    Column("closed_at", _MOMENT),
    UniqueConstraint("low_user", "high_user"),
    CheckConstraint("kind IN ('dm', 'group')", name="kind"),
    CheckConstraint(
        "CASE kind WHEN 'dm' THEN low_user IS NOT NULL AND high_user IS NOT NULL AND low_user < high_user "
        "ELSE low_user IS NULL AND high_user IS NULL AND name IS NOT NULL END",
        name="pair",
    ),
    postgresql_with={
        "fillfactor": 80
    },  # a message changes its row: it stays on its page, and out of the indexes
)

members = Table(
    "members",
    metadata,
    Column("conversation_id", BigInteger, ForeignKey("conversations.id"), primary_key=True),
    Column("user_id", _ID, ForeignKey("users.id"), primary_key=True),
    Column("role", Text, nullable=False, server_default="member"),
    Column("joined_seq", BigInteger, nullable=False),
    Column("joined_id", BigInteger, nullable=False),
    Column("left_seq", BigInteger),
    Column("delivered_seq", BigInteger, nullable=False),
    Column("read_seq", BigInteger, nullable=False),
    Column("delivered_at", _MOMENT),
    Column("read_at", _MOMENT),
    Column("muted", Boolean, nullable=False, server_default=false()),
    Column("pushed_seq", BigInteger, nullable=False, server_default=_ZERO),
    CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
    CheckConstraint("joined_seq <= read_seq AND read_seq <= delivered_seq", name="watermarks"),
    Index("members_user", "user_id", "conversation_id"),
    postgresql_with={"fillfactor": 80},
)

chat_messages = Table(
    "chat_messages",
    metadata,
    Column("conversation_id", BigInteger, primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("sender_id", _ID, nullable=False),
    Column("client_id", Text),
    Column("content", Text, nullable=False),
    Column("client_at", _MOMENT),
    Column("edited_at", _MOMENT),
    Column("deleted_at", _MOMENT),
    Column("change", BigInteger),
    CheckConstraint(f"char_length(content) <= {CONTENT_LENGTH}", name="content_length"),
    Index(
        "chat_messages_client",
        "conversation_id",
        "sender_id",
        "client_id",
        postgresql_where=text("client_id IS NOT NULL"),
    ),
    Index(
        "chat_messages_change",
        "conversation_id",
        "change",
        postgresql_where=text("change IS NOT NULL"),
    ),
    # No foreign keys: each would lock another row for every message, to guard against deletes that nothing here does.
    postgresql_partition_by="RANGE (id)",
)

chat_push_due = Table(
    "chat_push_due",
    metadata,
    Column("conversation_id", BigInteger, primary_key=True, autoincrement=False),
    Column("since", _MOMENT, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("marks", BigInteger, nullable=False, server_default=_ZERO),
    Index("chat_push_due_since", "since"),
)
