"""Cursors: where a page ended, as a text that its reader hands back."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.state import State


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the sort key of its last row, and the status that the list is of."""

    id: int
    at: datetime
    state: State

    def __str__(self) -> str:
        parts = [self.id, self.at.isoformat(), self.state]
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
            case [int(id_), str(text), str(state)] if not isinstance(id_, bool) and abs(id_) < 2**63:
                at = datetime.fromisoformat(text)
                if at.tzinfo is not None:
                    return cls(id_, at.astimezone(UTC), State(state))
        return None
