"""Send: chat messages into conversations, in order, once each, many in one transaction.

The rows of the conversations are locked first: under that lock `seq` and `id` are handed out and repeats are looked
for, so that the order of commits is the order of `seq`, and of two repeats on two replicas the second finds the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import asyncpg
import structlog

from dispatcher.chat.happened import Sent, Tell
from dispatcher.chat.ids import NOW, SHIFT
from dispatcher.chat.message import COLUMNS, ChatMessage
from dispatcher.chat.months import in_its_month
from dispatcher.chat.seat import Kind
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.errors import ConflictError, DispatcherError, ForbiddenError, NotFoundError
from dispatcher.kernel.gathering import Gathering
from dispatcher.kernel.web import ANSWER_SECONDS

log = structlog.get_logger()

REPEATS_KNOWN = timedelta(hours=24)
"""How long a `client_id` is remembered."""
SOONER_SECONDS = 0.5
"""So much before the route gives up, so that the client hears what is known of its message."""
UNKNOWN = (
    "Postgres does not answer at the moment, and whether the message is in is not known; "
    "send it again with the same client_id: it goes in once"
)
OVERLOADED = "too many messages wait to be written; this one is not in; try again"

LOCK = "SELECT FROM conversations WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"
"""In one order everywhere, so that no two batches wait for each other."""
_EARLIER = {name: f"earlier_{name}" for name in COLUMNS.split(", ")}
# No join of what is given, or what follows from it, with itself: it is as long as the batch, and no index leads there.
SEND = f"""
WITH given AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
        WITH ORDINALITY AS g (conversation_id, sender_id, client_id, content, client_at, kind, no)
), clock AS MATERIALIZED (
    SELECT {NOW} AS least_id
), found AS (
    SELECT given.*, m.user_id IS NOT NULL AS was_member, m.left_seq IS NOT NULL AS has_left,
           c.closed_at IS NOT NULL AS closed, c.kind AS of_kind, c.low_user, c.high_user,
           c.last_seq, greatest(c.last_id, clock.least_id) AS last_id,
           m.user_id IS NOT NULL AND m.left_seq IS NULL AND c.closed_at IS NULL AND earlier.id IS NULL AS is_new,
           {", ".join(f"earlier.{name} AS {alias}" for name, alias in _EARLIER.items())}
    FROM given CROSS JOIN clock
    LEFT JOIN conversations c ON c.id = given.conversation_id AND coalesce(c.kind = given.kind, true)
    LEFT JOIN members m ON m.conversation_id = c.id AND m.user_id = given.sender_id
    LEFT JOIN LATERAL (
        SELECT {COLUMNS} FROM chat_messages
        WHERE conversation_id = c.id AND sender_id = given.sender_id AND client_id = given.client_id
          AND id >= floor(extract(epoch FROM now() - $7::interval) * 1000)::bigint << {SHIFT}
        LIMIT 1
    ) earlier ON true
), judged AS (
    SELECT *, count(*) FILTER (WHERE is_new) OVER (PARTITION BY conversation_id ORDER BY no) AS nth,
           count(*) FILTER (WHERE is_new) OVER (PARTITION BY conversation_id, sender_id ORDER BY no) AS own_nth
    FROM found
), fresh AS (
    SELECT * FROM judged WHERE is_new
), numbered AS (
    UPDATE conversations c SET last_seq = n.last_seq + n.count, last_id = n.last_id + n.count
    FROM (SELECT conversation_id, last_seq, last_id, count(*) AS count FROM fresh GROUP BY 1, 2, 3) n
    WHERE c.id = n.conversation_id
    RETURNING c.id, c.last_seq
), inserted AS (
    INSERT INTO chat_messages (conversation_id, id, seq, sender_id, client_id, content, client_at)
    SELECT conversation_id, last_id + nth, last_seq + nth, sender_id, client_id, content, client_at
    FROM fresh ORDER BY no
), run AS ( -- how far a sender who was up to date still is: up to the first message of somebody else
    SELECT conversation_id, sender_id, last_seq AS seq, last_seq + max(nth) AS until FROM fresh
    WHERE nth = own_nth GROUP BY conversation_id, sender_id, last_seq
), held AS MATERIALIZED (
    SELECT m.*, who.seq, who.until FROM (SELECT * FROM run ORDER BY conversation_id, sender_id) who,
    LATERAL (
        SELECT m.conversation_id, m.user_id FROM members m
        WHERE m.conversation_id = who.conversation_id AND m.user_id = who.sender_id FOR NO KEY UPDATE
    ) m
), seen AS (
    UPDATE members m SET delivered_seq = held.until,
                         read_seq = CASE WHEN m.read_seq = held.seq THEN held.until ELSE m.read_seq END
    FROM held
    WHERE m.conversation_id = held.conversation_id AND m.user_id = held.user_id AND m.delivered_seq = held.seq
), due AS ( -- to be looked at by `push.py`; after the members, as `mark.py` does it too, or they wait for each other
    INSERT INTO chat_push_due (conversation_id, since, seq)
    SELECT id, now(), last_seq FROM numbered WHERE $8 AND (SELECT count(*) FROM held) >= 0 ORDER BY id
    ON CONFLICT DO NOTHING
)
SELECT of_kind, low_user, high_user, was_member, has_left, closed, {", ".join(_EARLIER.values())},
       CASE WHEN is_new THEN last_id + nth END AS id, CASE WHEN is_new THEN last_seq + nth END AS seq
FROM judged ORDER BY no
"""


@dataclass(frozen=True, slots=True)
class NewChatMessage:
    """A chat message to be sent."""

    conversation_id: int
    sender_id: str
    content: str
    client_id: str | None = None
    """The sender's own id for it: sent again within REPEATS_KNOWN, it is the same message."""
    client_at: datetime | None = None
    kind: Kind | None = None
    """What the conversation must be; one of another kind is not found."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """The message as it stands in its conversation."""

    message: ChatMessage
    peer: str | None
    """The other one of two users; None in a group."""
    repeated: bool
    """It was in before, perhaps edited or deleted since."""


_Outcome: TypeAlias = SendResult | DispatcherError


class Sender:
    """Sends chat messages; tells of each after its commit, in the order of `seq`."""

    def __init__(self, pool: Pool, tell: Tell, *, pushing: Callable[[], bool] = lambda: False) -> None:
        """`pushing` says whether anybody looks for members who have not received what is sent."""
        self._pool, self._tell, self._pushing = pool, tell, pushing
        self._gathering = Gathering[NewChatMessage, _Outcome](
            self._write,
            key=_repeat_key,
            seconds=ANSWER_SECONDS - SOONER_SECONDS,
            overloaded=OVERLOADED,
            unknown=UNKNOWN,
            failed=_say,
        )

    async def run(self) -> None:
        """Write what is sent, forever."""
        await self._gathering.run()

    async def send(self, new: NewChatMessage) -> SendResult:
        """Send it; returns after the commit.

        Raises:
            NotFoundError: There is no such conversation, as far as the sender may know.
            ForbiddenError: The sender is no longer a member.
            ConflictError: The conversation is closed.
            UnavailableError: Postgres does not answer, or too much is waiting for it.
        """
        outcome = await self._gathering.add(new)
        if isinstance(outcome, DispatcherError):
            raise outcome
        return outcome

    async def _write(self, batch: Sequence[NewChatMessage]) -> Sequence[_Outcome]:
        rows = await in_its_month(self._pool, lambda: self._write_rows(batch))
        return [self._outcome(new, row) for new, row in zip(batch, rows, strict=True)]

    def _outcome(self, new: NewChatMessage, row: asyncpg.Record) -> _Outcome:
        if row["earlier_id"] is not None and row["was_member"] and not row["has_left"]:
            earlier = ChatMessage(*(row[name] for name in _EARLIER.values()))
            return SendResult(earlier, _peer(new, row), repeated=True)
        if row["id"] is None:
            return _refusal(new, row)
        message = ChatMessage(
            *(new.conversation_id, row["id"], row["seq"], new.sender_id, new.client_id, new.content),
            client_at=new.client_at,
        )
        self._tell(Sent(message))
        return SendResult(message, _peer(new, row), repeated=False)

    async def _write_rows(self, batch: Sequence[NewChatMessage]) -> list[asyncpg.Record]:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK, sorted({new.conversation_id for new in batch}))
            rows: list[asyncpg.Record] = await connection.fetch(
                SEND,
                [new.conversation_id for new in batch],
                [new.sender_id for new in batch],
                [new.client_id for new in batch],
                [new.content for new in batch],
                [new.client_at for new in batch],
                [new.kind for new in batch],
                REPEATS_KNOWN,
                self._pushing(),
            )
        return rows


def _repeat_key(new: NewChatMessage) -> tuple[int, str, str] | None:
    return None if new.client_id is None else (new.conversation_id, new.sender_id, new.client_id)


def _peer(new: NewChatMessage, row: asyncpg.Record) -> str | None:
    peer: str | None = row["high_user"] if row["low_user"] == new.sender_id else row["low_user"]
    return peer


def _refusal(new: NewChatMessage, row: asyncpg.Record) -> DispatcherError:
    if not row["was_member"]:
        return NotFoundError(f"there is no {new.kind or 'conversation'} {new.conversation_id}")
    if row["has_left"]:
        return ForbiddenError(f"{new.sender_id} is no longer a member of conversation {new.conversation_id}")
    return ConflictError(f"conversation {new.conversation_id} is closed: nobody is there to read it")


def _say(error: Exception, messages: int) -> None:
    say = log.warning if isinstance(error, UNAVAILABLE) else log.error
    say("chat_without_postgres", messages=messages, error=str(error) or type(error).__name__)
