"""Open: the conversation of two users, made when the first of them writes to the other."""

from dispatcher.chat.happened import Rearranged, Tell
from dispatcher.chat.ids import NOW
from dispatcher.chat.users import no_such_user
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ForbiddenError, InvalidRequestError

REMEMBERED = 100_000
"""Pairs whose conversation a replica need not look up: it stays the same for ever."""

FIND = "SELECT id FROM conversations WHERE low_user = $1 AND high_user = $2"
# Whoever comes second waits for the first, inserts nothing, and looks again.
OPEN = f"""
WITH opened AS (
    INSERT INTO conversations (kind, low_user, high_user, last_id, member_count)
    SELECT 'dm', $1, $2, {NOW}, 2
    WHERE (
        SELECT count(*) FROM (
            SELECT FROM users WHERE id IN ($1, $2) AND deleted_at IS NULL ORDER BY id FOR SHARE
        ) u
    ) = 2
    ON CONFLICT (low_user, high_user) DO NOTHING
    RETURNING id, last_id
)
INSERT INTO members (conversation_id, user_id, joined_seq, joined_id, delivered_seq, read_seq)
SELECT opened.id, who, 0, opened.last_id, 0, 0 FROM opened, unnest(ARRAY[$1, $2]) AS who
RETURNING conversation_id
"""


def pair(one: str, other: str) -> tuple[str, str]:
    """The two in the order they are stored in.

    Raises:
        InvalidRequestError: They are one and the same.
    """
    if one == other:
        raise InvalidRequestError("a conversation has two users; nobody writes to themselves")
    return (one, other) if one < other else (other, one)


class Pairs:
    """Finds and opens the conversations of two users."""

    def __init__(self, pool: Pool, tell: Tell) -> None:
        self._pool, self._tell = pool, tell
        self._known: dict[tuple[str, str], int] = {}

    async def find(self, one: str, other: str) -> int | None:
        """The id of their conversation; None when they have none."""
        both = pair(one, other)
        if (known := self._known.get(both)) is not None:
            return known
        found: int | None = await self._pool.fetchval(FIND, *both)
        if found is not None:
            self._remember(both, found)
        return found

    async def open(self, sender: str, receiver: str) -> int:
        """The id of their conversation, which is there from now on.

        Raises:
            ForbiddenError: The sender is no user.
            NotFoundError: The receiver is none.
        """
        found = await self.find(sender, receiver)
        if found is not None:
            return found
        both = pair(sender, receiver)
        opened: int | None = await self._pool.fetchval(OPEN, *both)
        if opened is None:
            if (found := await self.find(sender, receiver)) is not None:
                return found
            raise await self._missing(sender, receiver)
        self._remember(both, opened)
        self._tell(Rearranged(opened, "opened", both))
        return opened

    async def _missing(self, sender: str, receiver: str) -> Exception:
        there = await self._pool.fetchval(
            "SELECT EXISTS (SELECT FROM users WHERE id = $1 AND deleted_at IS NULL)", sender
        )
        return no_such_user(receiver) if there else unknown_sender(sender)

    def _remember(self, both: tuple[str, str], conversation_id: int) -> None:
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[both] = conversation_id


def unknown_sender(id_: str) -> ForbiddenError:
    """What is said to somebody with a good token and no user of that id."""
    return ForbiddenError(f"{id_} is no user here yet; POST /api/v1/users adds you")
