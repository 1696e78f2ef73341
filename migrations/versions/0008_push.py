"""Which conversations are to be looked at for members who have not received, and how far each was called.

`chat/push.py` says how.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("members", sa.Column("pushed_seq", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "chat_push_due",
        sa.Column("conversation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("marks", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_index("chat_push_due_since", "chat_push_due", ["since"])
    # Every conversation in use comes and goes here every few seconds: what is dead must not wait for a share of the
    # table to be.
    op.execute(
        "ALTER TABLE chat_push_due SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)"
    )


def downgrade() -> None:
    op.drop_table("chat_push_due")
    op.drop_column("members", "pushed_seq")
