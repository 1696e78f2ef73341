"""Rescue: messages whose lease ran out, because whoever held it died or lost Postgres mid-send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from dispatcher.kernel.db import COMMAND_SECONDS, Pool
from dispatcher.messages.leave import LEAVING, MOVED
from dispatcher.messages.retention import on_its_day
from dispatcher.messages.state import State

EVER = timedelta(days=36_500)
VISIBLE_AFTER = timedelta(seconds=COMMAND_SECONDS + 5)
"""A lease is seen by others at most one statement's time after the moment that it counts from."""
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
    spent: int
    """The attempts that count towards `max_attempts`, the interrupted one included."""
    reserved: bool = False
    """No attempt had begun under it."""


class Expired(NamedTuple):
    """What a look for expired leases found."""

    leases: list[ExpiredLease]
    now: datetime
    """Postgres's clock, by which they have expired."""


EXPIRED = """
SELECT now() AS now, e.* FROM (VALUES (0)) AS one_row_at_least LEFT JOIN LATERAL (
    SELECT id, lane, lease_id, attempt_count - attempts_before AS spent, reserved FROM messages_sending
    WHERE leased_until < now() AND leased_until >= now() - $2::interval
    ORDER BY leased_until LIMIT $1
) AS e ON true
"""


async def expired(pool: Pool, *, limit: int, within: timedelta = EVER) -> Expired:
    """The leases that expired during the time just passed, longest expired first, of every lane.

    Who found none a moment ago need not look further back than that moment and VISIBLE_AFTER: every search walks
    over the index entries of all leases of its time that vacuum could not remove yet.
    """
    rows = await pool.fetch(EXPIRED, limit, within)
    leases = [
        ExpiredLease(row["id"], row["lane"], row["lease_id"], row["spent"], row["reserved"])
        for row in rows
        if row["id"] is not None
    ]
    return Expired(leases, rows[0]["now"])


def verdict(lease: ExpiredLease, receipt: Receipt | None, *, on_uncertain: str, max_attempts: int) -> State:
    """What becomes of an interrupted message.

    A receipt proves that it was sent. Without one nobody knows: `retry` sends it again under the same id while
    attempts are left; `hold`, or no attempt left, makes it `uncertain` for a person to decide.
    """
    if receipt is not None:
        return State.SENT
    if on_uncertain == "retry" and lease.spent < max_attempts:
        return State.PENDING
    return State.UNCERTAIN


# Fenced by lease_id like every other write: while this looked for receipts, the holder may have settled after all.
RESCUE = f"""
WITH result AS (
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[])
        AS r (id, lease_id, state, sent_at, receipt_id)
), leaving AS (
    DELETE FROM messages_sending m
    USING result r
    WHERE m.id = r.id AND m.lease_id = r.lease_id AND m.leased_until < now()
    RETURNING {LEAVING}, m.deliver_at, CASE r.state WHEN 'sent' THEN NULL ELSE $6 END AS error
), {MOVED}, recorded AS (
    INSERT INTO attempts (message_id, number, replica, started_at, duration_ms, outcome, error)
    SELECT id, attempt_count, $7, coalesce(sent_at, now()), 0,
           CASE state WHEN 'sent' THEN 'delivered' ELSE 'interrupted' END, error
    FROM leaving
)
SELECT id, state FROM leaving
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
    arguments = (
        [lease.message_id for lease in leases],
        [lease.lease_id for lease in leases],
        list(states),
        [receipt.sent_at if receipt else None for receipt in found],
        [receipt.receipt_id if receipt else None for receipt in found],
        INTERRUPTED,
        replica,
    )
    rows = await on_its_day(pool, lambda: pool.fetch(RESCUE, *arguments))
    return {row["id"]: State(row["state"]) for row in rows}
