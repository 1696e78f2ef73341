"""Begin: say of reserved messages that their attempt begins now, before it does.

A message that is claimed ahead of its time is held for a while before anything is done with it. If its holder dies in
between, nobody can have received it: `hold` must not put it before a person, and it has spent no attempt. So where that
matters a claim only reserves, and the holder writes down each attempt before it begins.
"""

from collections.abc import Sequence

from dispatcher.kernel.db import Pool
from dispatcher.messages.claim import ClaimedMessage


async def begin(pool: Pool, reserved: Sequence[ClaimedMessage]) -> set[int]:
    """The ids of those whose attempt may begin; the others are no longer ours."""
    rows = await pool.fetch(
        """
        UPDATE messages_sending m SET reserved = false
        FROM unnest($1::bigint[], $2::uuid[]) AS r (id, lease_id)
        WHERE m.id = r.id AND m.lease_id = r.lease_id AND m.reserved
        RETURNING m.id
        """,
        [message.id for message in reserved],
        [message.lease.lease_id for message in reserved],
    )
    return {row["id"] for row in rows}
