"""Settle: write down how attempts ended, in batches, each under its own lease."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from dispatcher.kernel.columns import column, rows_of
from dispatcher.kernel.db import Pool
from dispatcher.messages.leave import LEAVING, MOVED
from dispatcher.messages.retention import on_its_day
from dispatcher.messages.state import State

_RESULT = rows_of(
    id="bigint",
    lease_id="uuid",
    state="text",
    sent="float8",
    receipt_id="text",
    error="text",
    retry_seconds="float8",
    tick_no="bigint",
    started="float8",
    duration_ms="integer",
    outcome="text",
    status="smallint",
    excerpt="text",
)
SETTLE = f"""
WITH result AS (
    SELECT *, to_timestamp(sent) AS sent_at, to_timestamp(started) AS started_at FROM ({_RESULT}) AS given
), leaving AS (
    DELETE FROM messages_sending m
    USING result r
    WHERE m.id = r.id AND m.lease_id = r.lease_id
    RETURNING {LEAVING}, coalesce(now() + make_interval(secs => r.retry_seconds), m.deliver_at) AS deliver_at,
              r.error, r.tick_no, r.started_at, r.duration_ms, r.outcome, r.status, r.excerpt
), {MOVED}
INSERT INTO attempts (message_id, number, tick_no, replica, started_at, duration_ms,
                      outcome, status, error, response_excerpt)
SELECT id, attempt_count, tick_no, $14, started_at, duration_ms, outcome, status, error, excerpt
FROM leaving
RETURNING message_id
"""


@dataclass(slots=True)
class Settlement:
    """How one attempt ended, and what becomes of its message."""

    message_id: int
    lease_id: UUID
    state: State
    """`sent`, `failed`, `uncertain`, or `pending` for another attempt."""
    number: int
    tick_no: int | None
    started_at: float
    """In seconds since 1970, as `sent_at` is."""
    duration_ms: int
    outcome: str
    """`delivered`, `retry` or `rejected`."""
    sent_at: float | None = None
    receipt_id: str | None = None
    retry_in: timedelta | None = None
    """When the next attempt is due, from now; None leaves the message at its time."""
    status: int | None = None
    error: str | None = None
    excerpt: str | None = None


async def settle(pool: Pool, results: Sequence[Settlement], *, replica: str) -> set[int]:
    """Write the batch in one transaction. The ids that were settled.

    An id that is missing from the answer had lost its lease: nothing of it was changed or recorded.
    """
    arguments = (
        column([r.message_id for r in results]),
        column([r.lease_id for r in results]),
        column([r.state for r in results]),
        column([r.sent_at for r in results]),
        column([r.receipt_id for r in results]),
        column([r.error for r in results]),
        column([None if r.retry_in is None else r.retry_in.total_seconds() for r in results]),
        column([r.tick_no for r in results]),
        column([r.started_at for r in results]),
        column([r.duration_ms for r in results]),
        column([r.outcome for r in results]),
        column([r.status for r in results]),
        column([r.excerpt for r in results]),
        replica,
    )
    rows = await on_its_day(pool, lambda: pool.fetch(SETTLE, *arguments))
    return {row["message_id"] for row in rows}
