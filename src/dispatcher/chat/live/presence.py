"""Presence: who has a socket on some replica. Kept in Redis with a lifetime, so that a killed replica's users go too.

Never broadcast: a socket names whom it watches, of those its user has a conversation of two with. Without Redis a user
is there when they are here.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from redis.asyncio import Redis

from dispatcher.chat.live.channels import Channels, of_presence
from dispatcher.chat.live.fanout import FanOut
from dispatcher.chat.live.hub import Hub, Watched
from dispatcher.chat.live.listener import Listener
from dispatcher.chat.live.passing import Came
from dispatcher.kernel.clock import elapsed, unix_seconds, wait_for
from dispatcher.kernel.redis import BoundedRedis

LIFE_SECONDS = 60
"""How long a user whose replica was killed still seems to be there."""
REFRESH_SECONDS = 20.0
GRACE_SECONDS = 3.0
"""A user whose last socket is gone may be back at once."""
WITHDRAW_SECONDS = 1.0
"""How long an end waits for Redis to forget those who were here; then their lifetime ends them."""
AT_ONCE = 500


class Presence:
    """Says who is there."""

    def __init__(
        self, redis: BoundedRedis, hub: Hub, channels: Channels, fanout: FanOut, *, replica: str
    ) -> None:
        self._redis, self._hub, self._channels, self._fanout = redis, hub, channels, fanout
        self._replica = replica
        self._coming: set[str] = set()
        self._here: set[str] = set()
        """Users of whom Redis has been told that they are here."""
        self._leaving: dict[str, float] = {}
        self._changed = asyncio.Event()

    def changed(self, user_id: str) -> None:
        """A first socket of the user has come, or the last has gone."""
        if user_id in self._hub.users:
            self._coming.add(user_id)
        else:
            self._leaving[user_id] = elapsed() + GRACE_SECONDS
        self._changed.set()

    async def watch(self, listener: Listener, user_ids: Sequence[str]) -> list[tuple[str, bool]]:
        """Who of these is there; from now on the socket hears of changes. Those it may not watch are left out."""
        self.unwatch(listener)
        local = self._hub.users[listener.user_id]
        pairs = [self._hub.streams[id_].pair for id_ in local.following]
        peers = {user_id for pair in pairs if pair is not None for user_id in pair}
        watched = sorted(set(user_ids) & peers)
        self._channels.keep([of_presence(one) for one in watched])
        listener.watching = watched
        for one in watched:
            self._hub.watchers.setdefault(one, Watched()).listeners.add(listener)
        await self._channels.heard([of_presence(one) for one in watched])
        states = await self._look(watched)
        for user_id, online in states:
            self._hub.watchers[user_id].said = online
        return states

    def unwatch(self, listener: Listener) -> None:
        """The socket no longer hears of anybody."""
        for one in listener.watching:
            watched = self._hub.watchers[one]
            watched.listeners.discard(listener)
            if not watched.listeners:
                del self._hub.watchers[one]
        self._channels.release([of_presence(one) for one in listener.watching])
        listener.watching = ()

    async def withdraw(self) -> None:
        """The replica goes, and nobody is here. Nobody is told: they come back elsewhere, most likely at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHDRAW_SECONDS):
                await self._remove(list(self._here))

    async def run(self) -> None:
        """Tell Redis, and the watchers, forever."""
        refreshed = elapsed()
        while True:
            soon = 0.5 if self._leaving else REFRESH_SECONDS
            await wait_for(self._changed, soon)
            self._changed.clear()
            await self._come()
            now = elapsed()
            await self._go([one for one, at in self._leaving.items() if at <= now])
            if now - refreshed >= REFRESH_SECONDS:
                refreshed = now
                await self._refresh(self._here)
                for user_id, online in await self._look(list(self._hub.watchers)):
                    watched = self._hub.watchers.get(user_id)
                    if watched is not None and watched.said is not online:
                        self._hub.happened(Came(user_id, online))

    async def _come(self) -> None:
        coming, self._coming = self._coming, set()
        came = (coming & self._hub.users.keys()) - self._here
        if not came:
            return
        self._here |= came
        await self._refresh(came)
        for user_id in came:
            self._fanout.tell(Came(user_id, online=True))

    async def _go(self, user_ids: Sequence[str]) -> None:
        for one in user_ids:
            del self._leaving[one]
        gone = [one for one in user_ids if one not in self._hub.users and one in self._here]
        if not gone:
            return
        self._here.difference_update(gone)
        await self._remove(gone)
        for user_id, online in await self._look(gone):
            if not online:
                self._fanout.tell(Came(user_id, online=False))

    async def _remove(self, user_ids: Sequence[str]) -> None:
        for first in range(0, len(user_ids), AT_ONCE):
            some = user_ids[first : first + AT_ONCE]

            async def remove(redis: "Redis", some: Sequence[str] = some) -> None:
                async with redis.pipeline(transaction=False) as pipeline:
                    for one in some:
                        pipeline.zrem(self._key(one), self._replica)
                    await pipeline.execute()

            await self._redis.call(remove)

    async def _refresh(self, user_ids: Iterable[str]) -> None:
        listed, now = list(user_ids), unix_seconds()
        for first in range(0, len(listed), AT_ONCE):
            some = listed[first : first + AT_ONCE]

            async def put(redis: "Redis", some: Sequence[str] = some) -> None:
                async with redis.pipeline(transaction=False) as pipeline:
                    for one in some:
                        # what replicas left that were killed; the whole key lives for as long as it is refreshed
                        pipeline.zremrangebyscore(self._key(one), "-inf", now)
                        pipeline.zadd(self._key(one), {self._replica: now + LIFE_SECONDS})
                        pipeline.expire(self._key(one), LIFE_SECONDS)
                    await pipeline.execute()

            await self._redis.call(put)

    async def _look(self, user_ids: Sequence[str]) -> list[tuple[str, bool]]:
        states: list[tuple[str, bool]] = []
        now = unix_seconds()
        for first in range(0, len(user_ids), AT_ONCE):
            some = user_ids[first : first + AT_ONCE]

            async def count(redis: "Redis", some: Sequence[str] = some) -> list[int]:
                async with redis.pipeline(transaction=False) as pipeline:
                    for one in some:
                        pipeline.zcount(self._key(one), now, "+inf")
                    counts: list[int] = await pipeline.execute()
                return counts

            counts = await self._redis.call(count) or [0] * len(some)
            states += [
                (one, bool(there) or one in self._hub.users) for one, there in zip(some, counts, strict=True)
            ]
        return states

    def _key(self, user_id: str) -> str:
        return self._redis.key(f"chat:online:{user_id}")
