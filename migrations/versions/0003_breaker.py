"""A lane that pauses while its target fails: how far its probes are, and of which target."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = ("probes", "target", "probe_base", "probe_cap")


def upgrade() -> None:
    op.add_column("schedules", sa.Column("probes", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("schedules", sa.Column("target", sa.Text))
    op.add_column("schedules", sa.Column("probe_base", sa.Interval))
    op.add_column("schedules", sa.Column("probe_cap", sa.Interval))
    op.create_check_constraint(
        "probing",
        "schedules",
        "probes >= 0 AND (probes = 0 OR target IS NOT NULL)"
        " AND num_nonnulls(target, probe_base, probe_cap) IN (0, 3)",
    )


def downgrade() -> None:
    op.drop_constraint("probing", "schedules", type_="check")
    for column in reversed(COLUMNS):
        op.drop_column("schedules", column)
