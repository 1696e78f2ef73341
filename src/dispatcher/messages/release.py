"""Release: give claimed messages back, unattempted, and the attempt with them."""

from collections.abc import Sequence

from dispatcher.kernel.db import Pool
from dispatcher.messages.claim import ClaimedMessage
from dispatcher.messages.rescue import ExpiredLease


def _released(of: str = "true") -> str:
    return f"""
WITH released AS (
    DELETE FROM messages_sending m
    USING unnest($1::bigint[], $2::uuid[]) AS r (id, lease_id)
    WHERE m.id = r.id AND m.lease_id = r.lease_id AND {of}
    RETURNING m.*
)
INSERT INTO messages_pending (id, lane, recipient_phone, content, priority, deliver_at, attempt_count,
                              attempts_before, last_error, created_at)
SELECT id, lane, recipient_phone, content, priority, deliver_at, attempt_count - 1,
       attempts_before, last_error, created_at
FROM released
RETURNING id
"""


RELEASE = _released()
RELEASE_RESERVED = _released("m.reserved AND m.leased_until < now()")


async def release(pool: Pool, claimed: Sequence[ClaimedMessage]) -> int:
    """Make them pending again as if they had never been claimed. How many still were ours to release."""
    rows = await pool.fetch(
        RELEASE, [message.id for message in claimed], [message.lease.lease_id for message in claimed]
    )
    return len(rows)


async def release_reserved(pool: Pool, leases: Sequence[ExpiredLease]) -> int:
    """The same for what somebody else had reserved until its lease ran out: no attempt of it has begun. How many."""
    rows = await pool.fetch(
        RELEASE_RESERVED, [lease.message_id for lease in leases], [lease.lease_id for lease in leases]
    )
    return len(rows)
