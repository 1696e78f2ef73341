"""The last good live configuration, kept in Postgres for a start while etcd is away or has come back empty."""

import json
from dataclasses import dataclass

from dispatcher.kernel.db import Pool
from dispatcher.kernel.live import Origin


@dataclass(frozen=True, slots=True)
class LastGood:
    """The accepted etcd values, as text by key, and where they come from."""

    cluster_id: int
    origin: Origin
    entries: dict[str, str]


async def load(pool: Pool) -> LastGood | None:
    """What was saved last by any replica; None before the first time."""
    row = await pool.fetchrow("SELECT cluster_id, epoch, revision, entries FROM last_live_config")
    if row is None:
        return None
    return LastGood(int(row["cluster_id"]), Origin(row["epoch"], row["revision"]), json.loads(row["entries"]))


async def save(pool: Pool, last_good: LastGood) -> None:
    """Keep it, unless another replica has kept a later one."""
    await pool.execute(
        """
        INSERT INTO last_live_config AS kept (cluster_id, epoch, revision, entries) VALUES ($1, $2, $3, $4)
        ON CONFLICT (only_row) DO UPDATE
        SET cluster_id = EXCLUDED.cluster_id, epoch = EXCLUDED.epoch, revision = EXCLUDED.revision,
            entries = EXCLUDED.entries, saved_at = now()
        WHERE (kept.epoch, kept.revision) < (EXCLUDED.epoch, EXCLUDED.revision)
        """,
        str(last_good.cluster_id),
        last_good.origin.epoch,
        last_good.origin.revision,
        json.dumps(last_good.entries),
    )
