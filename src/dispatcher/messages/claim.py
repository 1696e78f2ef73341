"""Claim: take the next due messages of a lane under a lease, for as long as the lane runs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import Pool
from dispatcher.kernel.live import Origin

# `gate` takes a shared lock on the lane's schedule: /stop, which updates that row, waits for the claims under way,
# and a claim that had to wait for /stop sees the lane stopped. It is closed to a replica that knows less of the
# live configuration than the row does: that one would send to an older webhook_url.
# `turn` is there because row locks are not a fair queue: a stream of claims could keep /stop waiting for ever.
# Advisory locks are: a claim that comes after a waiting /stop waits behind it.
# `due` stays a CTE: as a subquery the planner may rescan it, and update more rows than LIMIT allows.
CLAIM = """
WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock_shared(hashtext('dispatcher schedule'), hashtext($1))
), gate AS (
    SELECT FROM schedules, turn
    WHERE lane = $1 AND running AND blocked IS NULL
      AND (epoch IS NULL OR (epoch, revision) <= ($5::bigint, $6::bigint))
    FOR SHARE OF schedules
), due AS MATERIALIZED (
    SELECT id FROM messages
    WHERE lane = $1 AND state = 'pending' AND deliver_at <= now() AND EXISTS (SELECT FROM gate)
    ORDER BY deliver_at, id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE messages m
SET state = 'sending', lease_id = $3, leased_until = now() + $4,
    attempt_count = least(attempt_count, 32766) + 1 -- one odd row must not stop the lane
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


async def claim(
    pool: Pool, lane: str, *, limit: int, lease_seconds: float, origin: Origin | None = None
) -> list[ClaimedMessage]:
    """At most `limit` due messages, oldest first; fewer when no more are due.

    None when the lane is stopped, or when its schedule follows a later live configuration than `origin`, the one
    that the caller would send by (None: it has never seen any).
    """
    # measured from before the statement is sent, so that our lease never outlasts the one in Postgres
    lease = Lease(uuid4(), elapsed() + lease_seconds)
    known = (origin.epoch, origin.revision) if origin else (-1, -1)
    rows = await pool.fetch(CLAIM, lane, limit, lease.lease_id, timedelta(seconds=lease_seconds), *known)
    rows.sort(key=lambda row: (row["deliver_at"], row["id"]))
    return [
        ClaimedMessage(
            row["id"], row["recipient_phone"], row["content"], row["attempt_count"], row["deliver_at"], lease
        )
        for row in rows
    ]
