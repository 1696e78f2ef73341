"""The last good live configuration, kept in Postgres for a start while etcd is away or has come back empty."""

import json
from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Table, func, true
from sqlalchemy.dialects.postgresql import JSONB

from dispatcher.kernel.db import Pool
from dispatcher.kernel.live import Origin
from dispatcher.kernel.schema import metadata

last_live_config = Table(
    "last_live_config",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=true()),
    Column("cluster_id", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("entries", JSONB, nullable=False),
    Column("saved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("only_row", name="only_row"),
)


@dataclass(frozen=True, slots=True)
class LastGood:
    """The accepted etcd values, as text by key, and where they come from."""

    origin: Origin
    entries: dict[str, str]


async def load(pool: Pool) -> LastGood | None:
    """What was saved last by any replica; None before the first time."""
    row = await pool.fetchrow("SELECT cluster_id, revision, entries FROM last_live_config")
    if row is None:
        return None
    return LastGood(Origin.from_stored(row["cluster_id"], row["revision"]), json.loads(row["entries"]))


async def save(pool: Pool, last_good: LastGood) -> None:
    """Keep it, unless another replica has kept a later revision of the same cluster."""
    await pool.execute(
        """
        INSERT INTO last_live_config (cluster_id, revision, entries) VALUES ($1, $2, $3)
        ON CONFLICT (only_row) DO UPDATE
        SET cluster_id = EXCLUDED.cluster_id, revision = EXCLUDED.revision,
            entries = EXCLUDED.entries, saved_at = now()
        WHERE last_live_config.cluster_id <> EXCLUDED.cluster_id
           OR last_live_config.revision < EXCLUDED.revision
        """,
        *last_good.origin.stored(),
        json.dumps(last_good.entries),
    )
