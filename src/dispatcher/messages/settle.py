"""Settle: write down how attempts ended, in batches, each under its own lease."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from dispatcher.kernel.db import Pool
from dispatcher.messages.table import State

SETTLE = """
WITH result AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::interval[],
        $8::smallint[], $9::bigint[], $10::timestamptz[], $11::integer[], $12::text[], $13::smallint[], $14::text[]
    ) AS r (
        id, lease_id, state, sent_at, receipt_id, error, retry_in,
        number, tick_no, started_at, duration_ms, outcome, status, excerpt
    )
), settled AS (
    UPDATE messages m
    SET state = r.state, sent_status = (r.state = 'sent'), sent_at = r.sent_at,
        deliver_at = CASE r.state WHEN 'pending' THEN now() + r.retry_in ELSE m.deliver_at END,
        lease_id = NULL, leased_until = NULL, receipt_id = r.receipt_id, last_error = r.error
    FROM result r
    WHERE m.id = r.id AND m.lease_id = r.lease_id
    RETURNING m.id, r.lease_id
), recorded AS (
    INSERT INTO attempts (message_id, number, tick_no, replica, started_at, duration_ms,
                          outcome, status, error, response_excerpt)
    SELECT r.id, r.number, r.tick_no, $15, r.started_at, r.duration_ms, r.outcome, r.status, r.error, r.excerpt
    FROM result r JOIN settled USING (id, lease_id)
    -- Ids begin anew when the table is emptied by hand; an old entry must not stand in the way of a result.
    ON CONFLICT (message_id, number) DO UPDATE
    SET tick_no = EXCLUDED.tick_no, replica = EXCLUDED.replica, started_at = EXCLUDED.started_at,
        duration_ms = EXCLUDED.duration_ms, outcome = EXCLUDED.outcome, status = EXCLUDED.status,
        error = EXCLUDED.error, response_excerpt = EXCLUDED.response_excerpt
)
SELECT id FROM settled
"""


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one attempt ended, and what becomes of its message."""

    message_id: int
    lease_id: UUID
    state: State
    """`sent`, `failed`, `uncertain`, or `pending` for another attempt."""
    number: int
    tick_no: int | None
    started_at: datetime
    duration_ms: int
    outcome: str
    """`delivered`, `retry` or `rejected`."""
    sent_at: datetime | None = None
    receipt_id: str | None = None
    retry_in: timedelta | None = None
    status: int | None = None
    error: str | None = None
    excerpt: str | None = None


async def settle(pool: Pool, results: Sequence[Settlement], *, replica: str) -> set[int]:
    """Write the batch in one transaction. The ids that were settled.

    An id that is missing from the answer had lost its lease: nothing of it was changed or recorded.
    """
    rows = await pool.fetch(
        SETTLE,
        [r.message_id for r in results],
        [r.lease_id for r in results],
        [r.state for r in results],
        [r.sent_at for r in results],
        [r.receipt_id for r in results],
        [r.error for r in results],
        [r.retry_in for r in results],
        [r.number for r in results],
        [r.tick_no for r in results],
        [r.started_at for r in results],
        [r.duration_ms for r in results],
        [r.outcome for r in results],
        [r.status for r in results],
        [r.excerpt for r in results],
        replica,
    )
    return {row["id"] for row in rows}
