"""List: messages of one lane and state, page by page, in the order of an index."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.table import State

MAX_LIMIT = 1000
MAX_OFFSET = 10_000

_COLUMNS = """id, lane, recipient_phone, content, state, sent_status, sent_at, receipt_id, deliver_at,
              attempt_count, last_error, created_at"""


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of one list: the index it reads, as SQL."""

    keys: str
    direction: str
    is_time: bool

    @property
    def by(self) -> str:
        return ", ".join(f"{key.strip()} {self.direction}" for key in self.keys.split(","))

    @property
    def beyond(self) -> str:
        return "<" if self.direction == "DESC" else ">"


NEWEST_SENT = _Order("sent_at, id", "DESC", is_time=True)
SOONEST_DUE = _Order("deliver_at, id", "ASC", is_time=True)
NEWEST_ID = _Order("id", "DESC", is_time=False)
ORDERS = {
    State.SENT: NEWEST_SENT,
    State.PENDING: SOONEST_DUE,
    State.SENDING: SOONEST_DUE,  # never more than what is in flight: sorted in memory
    State.FAILED: NEWEST_ID,
    State.UNCERTAIN: NEWEST_ID,
    State.CANCELLED: NEWEST_ID,
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the sort key of its last row."""

    id: int
    at: datetime | None = None

    def __str__(self) -> str:
        parts = [self.id, self.at.isoformat()] if self.at else [self.id]
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that this text stands for.

        Raises:
            InvalidRequestError: It is not a cursor of ours.
        """
        try:
            parts = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            cursor = cls._of(parts)
        except (ValueError, TypeError, OverflowError, binascii.Error):
            cursor = None
        if cursor is None:
            raise InvalidRequestError(
                "cursor: not one that this service handed out; leave it away to begin anew"
            )
        return cursor

    @classmethod
    def _of(cls, parts: object) -> "Cursor | None":
        """Exactly what `__str__` writes: what else would pass for a number or a time, Postgres's driver refuses."""
        match parts:
            case [int(id_), *rest] if not isinstance(id_, bool) and abs(id_) < 2**63:
                match rest:
                    case []:
                        return cls(id_)
                    case [str(text)] if (at := datetime.fromisoformat(text)).tzinfo is not None:
                        return cls(id_, at.astimezone(UTC))
        return None


async def list_messages(
    pool: Pool, *, lane: str, state: State, limit: int, offset: int = 0, after: Cursor | None = None
) -> tuple[Sequence[asyncpg.Record], Cursor | None]:
    """One page, and the cursor of the next one; None when there is no more.

    `sent` is listed newest first, `pending` and `sending` soonest due first, the others by id, newest first.
    """
    order = ORDERS[state]
    arguments: list[object] = [lane, limit + 1, offset]
    beyond = ""
    if after is not None:
        if order.is_time != (after.at is not None):
            raise InvalidRequestError("cursor: it belongs to a list of another status")
        beyond = f"AND ({order.keys}) {order.beyond} ($4{', $5' if order.is_time else ''})"
        arguments += [after.at, after.id] if order.is_time else [after.id]
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM messages WHERE lane = $1 AND state = '{state}' {beyond} "
        f"ORDER BY {order.by} LIMIT $2 OFFSET $3",
        *arguments,
    )
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], Cursor(last["id"], last[order.keys.split(",")[0]] if order.is_time else None)
