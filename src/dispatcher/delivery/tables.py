"""The schedule of each lane, one row, and the history of its ticks."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Integer,
    Interval,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)

from dispatcher.kernel.schema import metadata

PACE = (
    "CASE rate_limit WHEN 0 THEN queue_capacity = 0 AND tick_interval = interval '0'"  # a lane without ticks
    " ELSE rate_limit >= 1 AND queue_capacity >= 1 AND tick_interval > interval '0' END"
)
PROBING = (
    "probes >= 0 AND (probes = 0 OR target IS NOT NULL)"
    " AND num_nonnulls(target, probe_base, probe_cap) IN (0, 3)"
)

schedules = Table(
    "schedules",
    metadata,
    Column("lane", Text, primary_key=True),
    Column("running", Boolean, nullable=False),
    Column("blocked", Text),
    Column("rate_limit", Integer, nullable=False),
    Column("tick_interval", Interval, nullable=False),
    Column("queue_capacity", Integer, nullable=False),
    Column("auto_sending", Boolean, nullable=False),
    Column("anchor_at", DateTime(timezone=True), nullable=False),
    Column("anchor_no", BigInteger, nullable=False, server_default=text("0")),
    Column("next_no", BigInteger, nullable=False, server_default=text("0")),
    Column("last_at", DateTime(timezone=True)),
    Column("dropped_ticks", BigInteger, nullable=False, server_default=text("0")),
    Column("epoch", BigInteger),
    Column("revision", BigInteger),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("probes", Integer, nullable=False, server_default=text("0")),
    Column("target", Text),
    Column("probe_base", Interval),
    Column("probe_cap", Interval),
    CheckConstraint(PACE, name="pace"),
    CheckConstraint("next_no >= anchor_no", name="next_no"),
    CheckConstraint("(epoch IS NULL) = (revision IS NULL)", name="origin"),
    CheckConstraint(PROBING, name="probing"),
)

ticks = Table(
    "ticks",
    metadata,
    Column("lane", Text, nullable=False),
    Column("no", BigInteger, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("claimed_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("finished_at", DateTime(timezone=True)),
    Column("replica", Text, nullable=False),
    Column("rate_limit", Integer, nullable=False),
    Column("tick_interval", Interval, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("claimed", Integer, nullable=False, server_default=text("0")),
    Column("sent", Integer, nullable=False, server_default=text("0")),
    Column("retried", Integer, nullable=False, server_default=text("0")),
    Column("failed", Integer, nullable=False, server_default=text("0")),
    Column("uncertain", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("lane", "no"),
)
