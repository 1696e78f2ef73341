"""Move in time: give messages that nobody has claimed another `deliver_at`, because a person says so.

They keep their ids and everything else; a message that waits for its next attempt waits for the new time instead.
"""

from datetime import datetime

import asyncpg

from dispatcher.kernel.db import Pool
from dispatcher.messages.arrived import Arrived
from dispatcher.messages.matching import Filter, Where
from dispatcher.messages.move import Wish, move
from dispatcher.messages.move_all import Changed, move_all
from dispatcher.messages.state import State
from dispatcher.messages.view import COLUMNS

_WISH = Wish(takes={State.PENDING}, rule="only a message that is pending can be moved to another time")
# A claim that holds the row is waited for, and then has taken it.
_MOVE = f"""
UPDATE messages_pending SET deliver_at = greatest($2::timestamptz, now()) WHERE id = $1 RETURNING {COLUMNS}
"""
_KEPT = "id, lane, recipient_phone, content, priority, attempt_count, attempts_before, last_error, created_at"


async def move_time(pool: Pool, message_id: int, deliver_at: datetime, *, arrived: Arrived) -> asyncpg.Record:
    """Make it due then; a time that has passed is now. Its row.

    Raises:
        NotFoundError: There is no such message.
        ConflictError: It is being sent, or has ended.
    """
    row = await move(pool, message_id, _WISH, lambda: pool.fetchrow(_MOVE, message_id, deliver_at))
    _tell(arrived, row["lane"], row["deliver_at"])
    return row


async def move_time_all(pool: Pool, wanted: Filter, deliver_at: datetime, *, arrived: Arrived) -> Changed:
    """Make all that are pending and match due then; what is due then already is not counted."""
    # one moment for all of them, and so an end: what was moved is not found, and moved, again
    then = max(deliver_at, await pool.fetchval("SELECT now()"))

    def to_then(where: Where) -> str:
        at = f"{where.value(then)}::timestamptz"
        where.must(f"deliver_at <> {at}")
        return f"INSERT INTO messages_pending ({_KEPT}, deliver_at) SELECT {_KEPT}, {at} FROM taken"

    changed = await move_all(pool, State.PENDING, wanted, to_then)
    if changed.changed:
        _tell(arrived, wanted.lane, then)
    return changed


def _tell(arrived: Arrived, lane: str, deliver_at: datetime) -> None:
    if lane in arrived:
        arrived[lane](deliver_at)
