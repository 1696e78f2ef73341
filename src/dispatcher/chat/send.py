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
UNKNOWN = (
    "Postgres does not answer at the moment, and whether the message is in is not known; "
    "send it again with the same client_id: it goes in once"
)
OVERLOADED = "too many messages wait to be written; this one is not in; try again"

LOCK = "SELECT FROM conversations WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"
"""In one order everywhere, so that no two batches wait for each other."""
SEND = f"""
WITH given AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
        WITH ORDINALITY AS g (conversation_id, sender_id, client_id, content, client_at, kind, no)
), judged AS (
    SELECT given.*, m.user_id IS NOT NULL AS was_member, m.left_seq IS NOT NULL AS has_left,
           c.closed_at IS NOT NULL AS closed, c.kind AS of_kind, c.low_user, c.high_user, earlier.id AS earlier_id
    FROM given
    LEFT JOIN conversations c ON c.id = given.conversation_id AND coalesce(c.kind = given.kind, true)
    LEFT JOIN members m ON m.conversation_id = c.id AND m.user_id = given.sender_id
    LEFT JOIN LATERAL (
        SELECT id FROM chat_messages
        WHERE conversation_id = c.id AND sender_id = given.sender_id AND client_id = given.client_id
          AND id >= floor(extract(epoch FROM now() - $7::interval) * 1000)::bigint << {SHIFT}
        LIMIT 1
    ) earlier ON true
), fresh AS (
    SELECT *, row_number() OVER (PARTITION BY conversation_id ORDER BY no) AS nth,
           row_number() OVER (PARTITION BY conversation_id, sender_id ORDER BY no) AS own_nth
    FROM judged WHERE was_member AND NOT has_left AND NOT closed AND earlier_id IS NULL
), numbered AS (
    UPDATE conversations c SET last_seq = c.last_seq + n.count, last_id = greatest(c.last_id, {NOW}) + n.count
    FROM (SELECT conversation_id, count(*) AS count FROM fresh GROUP BY conversation_id) n
    WHERE c.id = n.conversation_id
    RETURNING c.id, c.last_seq, c.last_seq - n.count AS seq, c.last_id - n.count AS last_id
), inserted AS (
    INSERT INTO chat_messages (conversation_id, id, seq, sender_id, client_id, content, client_at)
    SELECT n.id, n.last_id + f.nth, n.seq + f.nth, f.sender_id, f.client_id, f.content, f.client_at
    FROM fresh f JOIN numbered n ON n.id = f.conversation_id ORDER BY f.no
), run AS ( -- how far a sender who was up to date still is: up to the first message of somebody else
    SELECT f.conversation_id, f.sender_id, n.seq, max(f.nth) AS length
    FROM fresh f JOIN numbered n ON n.id = f.conversation_id
    WHERE f.nth = f.own_nth GROUP BY f.conversation_id, f.sender_id, n.seq
), held AS MATERIALIZED (
    SELECT m.* FROM (SELECT conversation_id, sender_id FROM run ORDER BY conversation_id, sender_id) who,
    LATERAL (
        SELECT m.conversation_id, m.user_id FROM members m
        WHERE m.conversation_id = who.conversation_id AND m.user_id = who.sender_id FOR NO KEY UPDATE
    ) m
), seen AS (
    UPDATE members m SET delivered_seq = run.seq + run.length,
                         read_seq = CASE WHEN m.read_seq = run.seq THEN run.seq + run.length ELSE m.read_seq END
    FROM held JOIN run ON run.conversation_id = held.conversation_id AND run.sender_id = held.user_id
    WHERE m.conversation_id = run.conversation_id AND m.user_id = run.sender_id AND m.delivered_seq = run.seq
), due AS ( -- to be looked at by `push.py`; after the members, as `mark.py` does it too, or they wait for each other
    INSERT INTO chat_push_due (conversation_id, since, seq)
    SELECT id, now(), last_seq FROM numbered WHERE $8 AND (SELECT count(*) FROM held) >= 0 ORDER BY id
    ON CONFLICT DO NOTHING
)
SELECT j.no, j.of_kind, j.low_user, j.high_user, j.was_member, j.has_left, j.closed, j.earlier_id, n.last_id + f.nth AS id, n.seq + f.nth AS seq
FROM judged j LEFT JOIN fresh f ON f.no = j.no LEFT JOIN numbered n ON n.id = f.conversation_id
"""
EARLIER = f"SELECT {COLUMNS} FROM chat_messages WHERE conversation_id = $1 AND id = $2"


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
            seconds=ANSWER_SECONDS,
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
        outcomes: list[_Outcome] = []
        for new, row in zip(batch, rows, strict=True):
            if row["earlier_id"] is not None and row["was_member"] and not row["has_left"]:
                earlier = await self._pool.fetchrow(EARLIER, new.conversation_id, row["earlier_id"])
                outcomes.append(
                    _refusal(new, row)
                    if earlier is None
                    else SendResult(ChatMessage.of(earlier), _peer(new, row), repeated=True)
                )
            elif row["id"] is None:
                outcomes.append(_refusal(new, row))
            else:
                message = ChatMessage(
                    *(new.conversation_id, row["id"], row["seq"], new.sender_id, new.client_id, new.content),
                    client_at=new.client_at,
                )
                self._tell(Sent(message))
                outcomes.append(SendResult(message, _peer(new, row), repeated=False))
        return outcomes

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
        return sorted(rows, key=lambda row: int(row["no"]))


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
