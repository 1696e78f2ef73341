"""The table of the last good live configuration: one row."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Table, Text, func, true
from sqlalchemy.dialects.postgresql import JSONB

from dispatcher.kernel.schema import metadata

last_live_config = Table(
    "last_live_config",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=true()),
    Column("cluster_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("entries", JSONB, nullable=False),
    Column("saved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("only_row", name="only_row"),
)
