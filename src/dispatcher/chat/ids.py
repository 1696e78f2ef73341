"""Ids of chat messages: the milliseconds since 1970 of sending, times 2**20, and a number within the millisecond.

Minted under the lock of the conversation's row as `greatest(last_id, now) + 1`: strictly rising in a conversation
whatever the clocks do, without worker numbers. A range of time is a range of ids, and a month a partition.
"""

from datetime import UTC, datetime, timedelta

SHIFT = 20
MAX_ID = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

NOW = f"(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint << {SHIFT})"
"""SQL: the least id of this millisecond, by Postgres's clock."""


def first_id(at: datetime) -> int:
    """The least id of a message sent at this moment or later; for bounds of a search, so kept within what ids can be."""
    milliseconds = -((_EPOCH - at) // _MILLISECOND)  # rounded up: what was sent before `at` stays out
    return min(max(milliseconds, 0) << SHIFT, MAX_ID)


def sent_at(id_: int) -> datetime:
    """When the message with this id was sent, to the millisecond, by Postgres's clock."""
    return _EPOCH + (id_ >> SHIFT) * _MILLISECOND
