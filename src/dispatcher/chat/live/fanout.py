"""Fan-out: what has happened here goes to this replica's sockets at once, and over Redis to those of the others.

Nothing waits for it and nothing depends on it: what Redis loses is found in Postgres.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis

from dispatcher.chat.happened import Rearranged
from dispatcher.chat.live import wire
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

    def tell(self, told: Told) -> None:
        """Called after the commit; never waits, never raises."""
        try:
            self._hub.happened(told)
        except Exception:
            log.exception("chat_not_passed_on")  # a bug of ours; what has been written stays written
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
            self._hub.happened(told, concerned)

    async def run(self) -> None:
        """Publish, forever."""
        while True:
            await self._filled.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if not self._waiting:
                self._filled.clear()
            if batch and not await self._publish(batch):
                batch = [told for told in batch if not isinstance(told, Typed | Came)]  # old by then
                room = MAX_WAITING - len(self._waiting)
                self._waiting.extendleft(reversed(batch[max(0, len(batch) - room) :]))
                self._filled.set()
                await pause(RETRY_SECONDS)

    async def _publish(self, batch: Sequence[Told]) -> bool:
        try:
            pairs = await self._find_pairs(batch)
        except TROUBLE:
            return False
        by_channel: dict[str, list[list[Any]]] = {}
        for told in batch:
            packed = wire.pack(told)
            for channel in _channels(told, pairs):
                by_channel.setdefault(channel, []).append(packed)
        if not by_channel:
            return True
        key = self._redis.key

        async def publish(redis: "Redis") -> bool:
            async with redis.pipeline(transaction=False) as pipeline:
                for channel, packed in by_channel.items():
                    pipeline.publish(key(f"chat:{channel}"), wire.encode(self._origin, packed))
                await pipeline.execute(raise_on_error=False)
            return True

        return await self._redis.call(publish) is not None

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


def _channels(told: Told, pairs: Mapping[int, Pair | None]) -> set[str]:
    id_ = wire.conversation_of(told)
    if id_ is None:
        assert isinstance(told, Came)
        return {of_presence(told.user_id)}
    channels = {of_user(user_id) for user_id in told.user_ids} if isinstance(told, Rearranged) else set()
    if id_ in pairs:
        pair = pairs[id_]
        channels |= {of_group(id_)} if pair is None else {of_user(user_id) for user_id in pair}
    return channels
