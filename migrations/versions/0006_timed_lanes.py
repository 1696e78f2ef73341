"""Lanes without ticks, and messages that are claimed ahead of their time."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TICKS = "rate_limit >= 1 AND queue_capacity >= 1 AND tick_interval > interval '0'"
TICKS_OR_NONE = (
    "CASE rate_limit WHEN 0 THEN queue_capacity = 0 AND tick_interval = interval '0'"
    " ELSE rate_limit >= 1 AND queue_capacity >= 1 AND tick_interval > interval '0' END"
)


def upgrade() -> None:
    op.drop_constraint("pace", "schedules", type_="check")
    op.create_check_constraint("pace", "schedules", TICKS_OR_NONE)
    op.add_column("messages", sa.Column("reserved", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("messages", "reserved")
    op.execute("DELETE FROM schedules WHERE rate_limit = 0")
    op.drop_constraint("pace", "schedules", type_="check")
    op.create_check_constraint("pace", "schedules", TICKS)
