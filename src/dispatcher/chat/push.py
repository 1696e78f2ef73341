"""Push: calls members who have not received a chat message, by one message of the lane `push` each.

What counts is that nobody acknowledged, never whether somebody seems to be there: a connection can be dead without
anybody knowing. One call stands until the member has received all that it was about.

A message sent puts its conversation into `chat_push_due`, unless it is there: one small row, however many members and
messages. `push_after` later it is claimed (looked at again as long after), the members who are behind what was sent up
to then are called, and it is forgotten if nothing came since. So a message is looked at once for all of them, when it
is between once and twice `push_after` old.

- Exactly one call: a member's row says how far it was called, and is written with the call in one transaction.
- None forgotten: who dies after a claim leaves the row for the next look. A conversation is forgotten only under its
  own lock, so never behind the back of a message that is being sent, and only if no mark came in between.
- No two wait for each other: whoever locks several of these goes from conversations to members to `chat_push_due`.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from dispatcher.kernel import backoff
from dispatcher.kernel.clock import elapsed, wait_for
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.live import Live
from dispatcher.live_config.model import LiveConfig

log = structlog.get_logger()

LANE = "push"
CONVERSATIONS_AT_ONCE = 500
MEMBERS_AT_ONCE = 2000
"""Members whose rows are looked at in one transaction, unless one conversation has more."""
LOOKED_BACK = 100
"""Messages that are looked through, from the newest, for one of somebody else."""
PREVIEW = 400
"""Characters of the message that a call quotes: whatever they are, the call fits into a message's content."""
BACK = timedelta(seconds=30)
"""How long the transaction of a message that is sent lasts at most."""
EVER = timedelta(days=36_500)
WHOLE_EVERY_SECONDS = 60.0
"""How often rows are looked for that are older than they can be: a clock was set, or somebody died with them."""
AT_LEAST_SECONDS, AT_MOST_SECONDS = 0.05, 60.0
"""Between two looks."""

_RECENT = "since >= now() - $2::interval"  # what was deleted before may still be in the index's way

CLAIM = f"""
WITH late AS MATERIALIZED (
    SELECT conversation_id, seq, marks FROM chat_push_due
    WHERE since <= now() - $1::interval AND {_RECENT}
    ORDER BY since LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE chat_push_due d SET since = now(), seq = c.last_seq
FROM late JOIN conversations c ON c.id = late.conversation_id
WHERE d.conversation_id = late.conversation_id
RETURNING d.conversation_id, late.seq, d.seq AS last_seq, d.marks, c.member_count
"""
# Whom it is about is known under the lock of the member's row only: they may have acknowledged, or been called, just now.
# One conversation after the other, in the order given: so written, no plan can begin with all the others there are.
CALL = f"""
WITH given AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS g (conversation_id, seq)
), held AS MATERIALIZED (
    SELECT c.id AS conversation_id, m.user_id, newest.id, newest.seq, newest.sender_id, newest.content,
           c.kind, c.name, c.last_seq
    FROM given
    CROSS JOIN LATERAL (SELECT * FROM conversations WHERE id = given.conversation_id OFFSET 0) AS c
    CROSS JOIN LATERAL (
        SELECT user_id, delivered_seq FROM members
        WHERE conversation_id = c.id AND delivered_seq < given.seq AND pushed_seq <= delivered_seq
          AND left_seq IS NULL AND NOT muted
        ORDER BY conversation_id, user_id FOR NO KEY UPDATE
    ) AS m
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT id, seq, sender_id, content, deleted_at FROM chat_messages
            WHERE conversation_id = c.id AND id <= c.last_id
            ORDER BY id DESC LIMIT least(c.last_seq - m.delivered_seq, {LOOKED_BACK})
        ) AS behind
        WHERE sender_id <> m.user_id AND deleted_at IS NULL LIMIT 1
    ) AS newest
), called AS (
    UPDATE members m SET pushed_seq = held.last_seq
    FROM held WHERE m.conversation_id = held.conversation_id AND m.user_id = held.user_id
    RETURNING m.read_seq, held.*
)
INSERT INTO messages (lane, recipient_phone, content)
SELECT '{LANE}', called.user_id, json_build_object(
    'content', left(called.content, {PREVIEW}), 'conversation_id', called.conversation_id, 'kind', called.kind,
    'group_name', called.name, 'sender_id', called.sender_id, 'sender_name', sender.name,
    'message_id', called.id::text, 'seq', called.seq, 'unread', called.last_seq - called.read_seq)::text
FROM called LEFT JOIN users sender ON sender.id = called.sender_id
RETURNING 1
"""
FORGET = """
WITH over AS MATERIALIZED (
    SELECT d.conversation_id FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS g (conversation_id, seq, marks)
    JOIN conversations c ON c.id = g.conversation_id JOIN chat_push_due d ON d.conversation_id = c.id
    WHERE c.last_seq = g.seq AND d.seq = g.seq AND d.marks = g.marks
    FOR NO KEY UPDATE OF c SKIP LOCKED FOR UPDATE OF d SKIP LOCKED
)
DELETE FROM chat_push_due d USING over WHERE d.conversation_id = over.conversation_id
"""
NEXT = f"""
SELECT extract(epoch FROM min(since) + $1::interval - clock_timestamp())::float8 FROM chat_push_due WHERE {_RECENT}
"""


def is_pushing(config: LiveConfig) -> bool:
    """Whether anybody is called at all."""
    return config.push_webhook_url is not None


@dataclass(frozen=True, slots=True)
class Due:
    """A conversation that was claimed to be looked at."""

    conversation_id: int
    seq: int
    """Messages up to it are old enough."""
    last_seq: int
    marks: int
    member_count: int

    @property
    def quiet(self) -> bool:
        """Whether nothing newer is in it, which would have to be looked at later."""
        return self.seq == self.last_seq


def shares(due: Sequence[Due], *, members: int) -> Iterator[Sequence[Due]]:
    """These in order, in pieces of so many members at most; a conversation that has more is one by itself."""
    share: list[Due] = []
    count = 0
    for one in due:
        if share and count + one.member_count > members:
            yield share
            share, count = [], 0
        share.append(one)
        count += one.member_count
    if share:
        yield share


class Push:
    """Looks for members to call, together with the other replicas."""

    def __init__(self, pool: Pool, live: Live[LiveConfig], *, called: Callable[[], None]) -> None:
        """`called` is told after each commit that has put calls in."""
        self._pool, self._live, self._called = pool, live, called
        self._changed = asyncio.Event()
        self._whole_again_at = 0.0
        live.signal(self._changed)

    async def run(self) -> None:
        """Call those who are behind, forever, through any outage of Postgres."""
        failures = 0
        while True:
            self._changed.clear()
            wait = AT_MOST_SECONDS
            try:
                if is_pushing(self._live.value):
                    wait = await self.once()
                failures = 0
            except UNAVAILABLE as error:
                failures += 1
                wait = backoff.delay(failures, base=0.1, cap=5.0)
                if failures == 1:
                    log.warning("push_waits_for_postgres", error=str(error) or type(error).__name__)
            if await wait_for(self._changed, wait):
                self._whole_again_at = 0.0

    async def once(self) -> float:
        """Call whoever is to be called now. In how many seconds there may be more."""
        after = timedelta(seconds=self._live.value.push_after)
        back = self._back(after)
        while True:
            due = await self._claim(after, back)
            for share in shares(due, members=MEMBERS_AT_ONCE):
                if await self._call(share):
                    self._called()
                await self._forget([one for one in share if one.quiet])
            if len(due) < CONVERSATIONS_AT_ONCE:
                break
        left = await self._pool.fetchval(NEXT, after, back)
        # what comes in from now on is due later than that
        wait = after.total_seconds() if left is None else min(left, after.total_seconds())
        return min(max(wait, AT_LEAST_SECONDS), AT_MOST_SECONDS)

    def _back(self, after: timedelta) -> timedelta:
        if elapsed() >= self._whole_again_at:
            self._whole_again_at = elapsed() + WHOLE_EVERY_SECONDS
            return EVER
        return after + timedelta(seconds=AT_MOST_SECONDS) + BACK

    async def _claim(self, after: timedelta, back: timedelta) -> list[Due]:
        rows = await self._pool.fetch(CLAIM, after, back, CONVERSATIONS_AT_ONCE)
        return [Due(**row) for row in rows]

    async def _call(self, share: Sequence[Due]) -> int:
        """How many were called."""
        in_order = sorted(share, key=lambda one: one.conversation_id)
        ids, seqs = [one.conversation_id for one in in_order], [one.seq for one in in_order]
        return len(await self._pool.fetch(CALL, ids, seqs))

    async def _forget(self, quiet: Sequence[Due]) -> None:
        if quiet:
            await self._pool.execute(
                FORGET,
                [one.conversation_id for one in quiet],
                [one.seq for one in quiet],
                [one.marks for one in quiet],
            )
