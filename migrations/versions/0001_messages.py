"""Messages, attempts, schedules, ticks and the last good live configuration."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column("lane", sa.Text, nullable=False, server_default="webhook"),
        sa.Column("recipient_phone", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="pending"),
        sa.Column("sent_status", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("sent_at", MOMENT),
        sa.Column("deliver_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("attempt_count", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_id", sa.Uuid),
        sa.Column("leased_until", MOMENT),
        sa.Column("receipt_id", sa.Text),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("recipient_phone <> '' AND char_length(recipient_phone) <= 320", name="recipient"),
        sa.CheckConstraint(
            "char_length(content) BETWEEN 1 AND CASE lane WHEN 'webhook' THEN 160 ELSE 4096 END",
            name="content_length",
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'sending', 'sent', 'failed', 'uncertain', 'cancelled')",
            name="state",
        ),
        sa.CheckConstraint("sent_status = (state = 'sent')", name="sent_status"),
        sa.CheckConstraint("(sent_at IS NOT NULL) = (state = 'sent')", name="sent_at"),
        sa.CheckConstraint(
            "(lease_id IS NOT NULL) = (state = 'sending') AND (leased_until IS NOT NULL) = (state = 'sending')",
            name="lease",
        ),
    )
    op.create_index(
        "messages_due",
        "messages",
        ["lane", "deliver_at", "id"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "messages_leased", "messages", ["leased_until"], postgresql_where=sa.text("state = 'sending'")
    )
    op.create_index(
        "messages_sent", "messages", ["lane", "sent_at", "id"], postgresql_where=sa.text("state = 'sent'")
    )
    op.create_index(
        "messages_ended",
        "messages",
        ["lane", "state", "id"],
        postgresql_where=sa.text("state IN ('failed', 'uncertain', 'cancelled')"),
    )
    op.create_table(
        "attempts",
        sa.Column("message_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.SmallInteger, nullable=False),
        sa.Column("tick_no", sa.BigInteger),
        sa.Column("replica", sa.Text, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("status", sa.SmallInteger),
        sa.Column("error", sa.Text),
        sa.Column("response_excerpt", sa.Text),
        sa.PrimaryKeyConstraint("message_id", "number", name="attempts_pkey"),
        sa.CheckConstraint("outcome IN ('delivered', 'retry', 'rejected', 'interrupted')", name="outcome"),
    )
    op.create_table(
        "schedules",
        sa.Column("lane", sa.Text, primary_key=True),
        sa.Column("running", sa.Boolean, nullable=False),
        sa.Column("blocked", sa.Text),
        sa.Column("rate_limit", sa.Integer, nullable=False),
        sa.Column("tick_interval", sa.Interval, nullable=False),
        sa.Column("queue_capacity", sa.Integer, nullable=False),
        sa.Column("auto_sending", sa.Boolean, nullable=False),
        sa.Column("anchor_at", MOMENT, nullable=False),
        sa.Column("anchor_no", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("next_no", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("last_at", MOMENT),
        sa.Column("dropped_ticks", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("revision", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("changed_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint(
            "rate_limit >= 1 AND queue_capacity >= 1 AND tick_interval > interval '0'", name="pace"
        ),
        sa.CheckConstraint("next_no >= anchor_no", name="next_no"),
        sa.CheckConstraint("(epoch IS NULL) = (revision IS NULL)", name="origin"),
    )
    op.create_table(
        "ticks",
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("no", sa.BigInteger, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("claimed_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("finished_at", MOMENT),
        sa.Column("replica", sa.Text, nullable=False),
        sa.Column("rate_limit", sa.Integer, nullable=False),
        sa.Column("tick_interval", sa.Interval, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("dropped", sa.BigInteger, nullable=False),
        sa.Column("claimed", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("sent", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("retried", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("failed", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("uncertain", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("lane", "no", name="ticks_pkey"),
    )
    op.create_table(
        "last_live_config",
        sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("cluster_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("entries", JSONB, nullable=False),
        sa.Column("saved_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("only_row", name="only_row"),
    )


def downgrade() -> None:
    for table in ("last_live_config", "ticks", "schedules", "attempts", "messages"):
        op.drop_table(table)
