"""Fan-out: what has happened here goes to this replica's sockets at once, and over Redis to those of the others.

Nothing waits for it and nothing depends on it: what Redis loses is found in Postgres.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from dispatcher.chat.happened import Rearranged
from dispatcher.chat.live import codes, wire
from dispatcher.chat.live.channels import of_group, of_presence, of_user
from dispatcher.chat.live.hub import Concerned, Hub
from dispatcher.chat.live.passing import Came, Typed
from dispatcher.chat.live.stream import Pair
from dispatcher.chat.live.wire import Told
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import TROUBLE, Pool
from dispatcher.kernel.redis import BoundedRedis

log = structlog.get_logger()

MAX_WAITING = 10_000
"""Happenings that wait for Redis; then the oldest go."""
BATCH = 500
AT_ONCE = 500
"""Publications that Redis gets together: each such piece has `CALL_SECONDS` of its own."""
RETRY_SECONDS = 0.25
MAX_KNOWN = 100_000
"""Conversations of which is remembered who they are between: that never changes."""
PAIRS = "SELECT id, low_user, high_user FROM conversations WHERE id = ANY($1)"


class FanOut:
    """Tells everybody."""

    def __init__(self, pool: Pool, redis: BoundedRedis, hub: Hub, *, origin: str) -> None:
        """`origin` is a name for this replica, so that it knows its own publications."""
        self._pool, self._redis, self._hub, self._origin = pool, redis, hub, origin
        self._waiting: deque[Told] = deque(maxlen=MAX_WAITING)
        self._filled = asyncio.Event()
        self._pairs: dict[int, Pair | None] = {}
        self._at_once = BATCH
        self._pairs_unknown = False

    def tell(self, told: Told) -> None:
        """Called after the commit; never waits, never raises."""
        self._pass_on(told, "everybody")
        self._waiting.append(told)
        self._filled.set()

    def got(self, channel: str, payload: bytes) -> None:
        """Something was published on a channel of ours."""
        try:
            origin, happened = wire.decode(payload)
        except ValueError:
            log.warning("chat_publication_unreadable", channel=channel)
            return
        if origin == self._origin:
            return
        kind, _, name = channel.partition(":")
        concerned: Concerned = (name,) if kind == "u" else "others" if kind == "g" else "everybody"
        for told in happened:
            self._pass_on(told, concerned)

    async def run(self) -> None:
        """Publish, forever."""
        while True:
            await self._filled.wait()
            batch = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
            if not self._waiting:
                self._filled.clear()
            if not batch:
                continue
            if await self._publish(batch):
                self._at_once = min(2 * self._at_once, BATCH)
                continue
            self._at_once = max(len(batch) // 2, 1)  # it may have been too much for the time there is
            batch = [told for told in batch if not isinstance(told, Typed | Came)]  # old by then
            room = MAX_WAITING - len(self._waiting)
            self._waiting.extendleft(reversed(batch[max(0, len(batch) - room) :]))
            self._filled.set()
            await pause(RETRY_SECONDS)

    def _pass_on(self, told: Told, concerned: Concerned) -> None:
        try:
            self._hub.happened(told, concerned)
        except Exception:  # a bug of ours; what has been written stays written
            log.exception("chat_not_passed_on")
            stream = self._hub.streams.get(wire.conversation_of(told) or 0)
            for user_id in list(stream.followers) if stream is not None else ():
                local = self._hub.users.get(user_id)
                for listener in local.listeners if local is not None else ():
                    listener.end(codes.BUG)  # it may have a hole now, and coming back fills it

    async def _publish(self, batch: Sequence[Told]) -> bool:
        """Whether Redis had all of it."""
        try:
            pairs = await self._find_pairs(batch)
        except TROUBLE as error:
            if not self._pairs_unknown:
                log.warning("chat_not_published", error=str(error) or type(error).__name__)
            self._pairs_unknown = True
            return False
        self._pairs_unknown = False
        by_channel: dict[str, list[list[Any]]] = {}
        for told in batch:
            for channel, packed in _packed(told, pairs):
                by_channel.setdefault(channel, []).append(packed)
        channels = list(by_channel)
        for first in range(0, len(channels), AT_ONCE):
            some = {one: by_channel[one] for one in channels[first : first + AT_ONCE]}
            if not await self._publish_on(some):
                return False
        return True

    async def _publish_on(self, by_channel: Mapping[str, list[list[Any]]]) -> bool:
        answers: list[Any] = []

        async def publish(redis: "Redis") -> None:
            async with redis.pipeline(transaction=False) as pipeline:
                for channel, packed in by_channel.items():
                    name = self._redis.key(f"chat:{channel}")
                    pipeline.publish(name, wire.encode(self._origin, packed))
                answers.extend(await pipeline.execute(raise_on_error=False))
            for answer in answers:
                if isinstance(answer, ResponseError):
                    raise answer  # `call` tells of it, and so does /health; it would not help to try again

        await self._redis.call(publish)
        return bool(answers)

    async def _find_pairs(self, batch: Sequence[Told]) -> Mapping[int, Pair | None]:
        """Of each conversation the two it is between; None of groups."""
        ids = {id_ for id_ in map(wire.conversation_of, batch) if id_ is not None}
        unknown = []
        for id_ in ids - self._pairs.keys():
            if (stream := self._hub.streams.get(id_)) is not None:
                self._pairs[id_] = stream.pair
            else:
                unknown.append(id_)
        if unknown:
            for row in await self._pool.fetch(PAIRS, unknown):
                self._pairs[row["id"]] = (row["low_user"], row["high_user"]) if row["low_user"] else None
        found = {id_: self._pairs[id_] for id_ in ids if id_ in self._pairs}
        while len(self._pairs) > MAX_KNOWN:
            del self._pairs[next(iter(self._pairs))]
        return found


def _packed(told: Told, pairs: Mapping[int, Pair | None]) -> Iterator[tuple[str, list[Any]]]:
    """The channels that it is published on, and what is published there."""
    id_, packed = wire.conversation_of(told), wire.pack(told)
    if id_ is None:
        assert isinstance(told, Came)
        yield of_presence(told.user_id), packed
        return
    pair = pairs.get(id_)
    if pair is not None:
        for user_id in pair:
            yield of_user(user_id), packed
        return
    if isinstance(told, Rearranged):
        for user_id in told.user_ids:
            # A thousand members need not hear of each other a thousand times; an old owner and a new one must.
            yield (
                of_user(user_id),
                packed if told.what == "role" else wire.pack(replace(told, user_ids=[user_id])),
            )
    if id_ in pairs:
        yield of_group(id_), packed
