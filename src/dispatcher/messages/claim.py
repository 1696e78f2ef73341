"""Claim: take the next due messages of a lane under a lease, for as long as the lane runs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import Pool

# `gate` takes a shared lock on the lane's schedule: /stop, which updates that row, waits for the claims under way,
# and a claim that had to wait for /stop sees the lane stopped.
# `due` stays a CTE: as a subquery the planner may rescan it, and update more rows than LIMIT allows.
CLAIM = """
WITH gate AS (
    SELECT FROM schedules WHERE lane = $1 AND running AND blocked IS NULL FOR SHARE
), due AS MATERIALIZED (
    SELECT id FROM messages
    WHERE lane = $1 AND state = 'pending' AND deliver_at <= now() AND EXISTS (SELECT FROM gate)
    ORDER BY deliver_at, id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE messages m
SET state = 'sending', lease_id = $3, leased_until = now() + $4, attempt_count = attempt_count + 1
FROM due
WHERE m.id = due.id
RETURNING m.id, m.recipient_phone, m.content, m.attempt_count, m.deliver_at
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The exclusive, time-bounded right to attempt some messages."""

    lease_id: UUID
    ends: float
    """On the clock of `kernel.clock.elapsed`; never later than the lease in Postgres."""


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message this process may attempt, until its lease ends."""

    id: int
    recipient: str
    content: str
    attempt: int
    """The number of the attempt this claim is for, from 1."""
    deliver_at: datetime
    lease: Lease


async def claim(pool: Pool, lane: str, *, limit: int, lease_seconds: float) -> list[ClaimedMessage]:
    """At most `limit` due messages, oldest first; fewer, or none, when no more are due or the lane is stopped."""
    # measured from before the statement is sent, so that our lease never outlasts the one in Postgres
    lease = Lease(uuid4(), elapsed() + lease_seconds)
    rows = await pool.fetch(CLAIM, lane, limit, lease.lease_id, timedelta(seconds=lease_seconds))
    rows.sort(key=lambda row: (row["deliver_at"], row["id"]))
    return [
        ClaimedMessage(
            row["id"], row["recipient_phone"], row["content"], row["attempt_count"], row["deliver_at"], lease
        )
        for row in rows
    ]
