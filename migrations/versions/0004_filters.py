"""Lists and changes by recipient and time, each from one index in its order; attempts anew after a retry by hand."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPGRADE = (
    # a constant default: no row is rewritten
    "ALTER TABLE messages ADD COLUMN attempts_before smallint NOT NULL DEFAULT 0",
    "DROP INDEX messages_pending_recipient",
    "CREATE INDEX messages_pending_recipient ON messages_pending (lane, recipient_phone, deliver_at, id)",
    "DROP INDEX messages_held_state",
    "DROP INDEX messages_held_recipient",
    "CREATE INDEX messages_held_state ON messages_held (lane, state, (coalesce(held_at, created_at)), id)",
    """
    CREATE INDEX messages_held_recipient
    ON messages_held (lane, state, recipient_phone, (coalesce(held_at, created_at)), id)
    """,
    "DROP INDEX messages_sent_recipient",
    "CREATE INDEX messages_sent_recipient ON messages_sent (lane, recipient_phone, sent_at, id)",
)
DOWNGRADE = (
    "DROP INDEX messages_pending_recipient",
    "CREATE INDEX messages_pending_recipient ON messages_pending (recipient_phone, id)",
    "DROP INDEX messages_held_state",
    "DROP INDEX messages_held_recipient",
    "CREATE INDEX messages_held_state ON messages_held (lane, state, id)",
    "CREATE INDEX messages_held_recipient ON messages_held (recipient_phone, id)",
    "DROP INDEX messages_sent_recipient",
    "CREATE INDEX messages_sent_recipient ON messages_sent (recipient_phone, id)",
    "ALTER TABLE messages DROP COLUMN attempts_before",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
