"""Rescue: messages whose lease ran out, because whoever held it died or lost Postgres mid-send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dispatcher.kernel.db import Pool
from dispatcher.messages.table import State

INTERRUPTED = "interrupted: the lease ran out before a result was settled; the receiver may have the message"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The stored evidence of a 2xx."""

    sent_at: datetime
    receipt_id: str | None


@dataclass(frozen=True, slots=True)
class ExpiredLease:
    """A message in `sending` whose lease has ended."""

    message_id: int
    lane: str
    lease_id: UUID
    attempt: int


async def expired(pool: Pool, *, limit: int) -> list[ExpiredLease]:
    """The longest expired leases, of every lane."""
    rows = await pool.fetch(
        """
        SELECT id, lane, lease_id, attempt_count FROM messages
        WHERE state = 'sending' AND leased_until < now()
        ORDER BY leased_until LIMIT $1
        """,
        limit,
    )
    return [ExpiredLease(row["id"], row["lane"], row["lease_id"], row["attempt_count"]) for row in rows]


def verdict(lease: ExpiredLease, receipt: Receipt | None, *, on_uncertain: str, max_attempts: int) -> State:
    """What becomes of an interrupted message.

    A receipt proves that it was sent. Without one nobody knows: `retry` sends it again under the same id while
    attempts are left; `hold`, or no attempt left, makes it `uncertain` for a person to decide.
    """
    if receipt is not None:
        return State.SENT
    if on_uncertain == "retry" and lease.attempt < max_attempts:
        return State.PENDING
    return State.UNCERTAIN


# Fenced by lease_id like every other write: while this looked for receipts, the holder may have settled after all.
RESCUE = """
WITH result AS (
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[])
        AS r (id, lease_id, state, sent_at, receipt_id)
), rescued AS (
    UPDATE messages m
    SET state = r.state, sent_status = (r.state = 'sent'), sent_at = r.sent_at, receipt_id = r.receipt_id,
        last_error = CASE r.state WHEN 'sent' THEN NULL ELSE $6 END, lease_id = NULL, leased_until = NULL
    FROM result r
    WHERE m.id = r.id AND m.lease_id = r.lease_id AND m.leased_until < now()
    RETURNING m.id, m.attempt_count, m.state, m.sent_at
), recorded AS (
    INSERT INTO attempts (message_id, number, replica, started_at, duration_ms, outcome, error)
    SELECT id, attempt_count, $7, coalesce(sent_at, now()), 0,
           CASE state WHEN 'sent' THEN 'delivered' ELSE 'interrupted' END,
           CASE state WHEN 'sent' THEN NULL ELSE $6 END
    FROM rescued
    ON CONFLICT DO NOTHING
)
SELECT id, state FROM rescued
"""


async def rescue(
    pool: Pool,
    leases: Sequence[ExpiredLease],
    states: Sequence[State],
    receipts: Mapping[int, Receipt],
    *,
    replica: str,
) -> dict[int, State]:
    """Give each expired lease its verdict. The messages that were still interrupted, with their new state."""
    found = [receipts.get(lease.message_id) for lease in leases]
    rows = await pool.fetch(
        RESCUE,
        [lease.message_id for lease in leases],
        [lease.lease_id for lease in leases],
        list(states),
        [receipt.sent_at if receipt else None for receipt in found],
        [receipt.receipt_id if receipt else None for receipt in found],
        INTERRUPTED,
        replica,
    )
    return {row["id"]: State(row["state"]) for row in rows}
