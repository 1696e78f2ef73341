"""Checker: compares what was passed on with what Postgres has. Redis may lose anything at any time; this finds it."""

import asyncio
from collections.abc import Callable

import structlog

from dispatcher.chat.live import codes, snapshot
from dispatcher.chat.live.filler import Filler
from dispatcher.chat.live.following import Following
from dispatcher.chat.live.hub import Hub
from dispatcher.kernel.backoff import delay
from dispatcher.kernel.clock import wait_for
from dispatcher.kernel.db import TROUBLE, Pool

log = structlog.get_logger()

CHECK_SECONDS = 8.0
"""Between two checks, up to a quarter more: how late a message is at most when its publication was lost."""
DEAF_SECONDS = 0.5
"""The same while nothing comes from Redis at all."""
AT_ONCE = 1000
"""Users a statement."""


class Checker:
    """Checks."""

    def __init__(
        self, pool: Pool, hub: Hub, filler: Filler, following: Following, *, deaf: Callable[[], bool]
    ) -> None:
        self._pool, self._hub, self._filler, self._following, self._deaf = pool, hub, filler, following, deaf
        self._asked = asyncio.Event()

    def soon(self) -> None:
        """Check at once, and not only when it is time."""
        self._asked.set()

    async def run(self) -> None:
        """Check, forever."""
        while True:
            seconds = DEAF_SECONDS if self._deaf() else CHECK_SECONDS
            await wait_for(self._asked, delay(1, base=seconds, cap=seconds))
            self._asked.clear()
            try:
                await self.check()
            except TROUBLE as error:
                log.warning("chat_positions_unchecked", error=str(error) or type(error).__name__)

    async def check(self) -> None:
        """Have everything fetched that was not passed on."""
        await self._filler.compare(self._hub, self._hub.streams)
        users = list(self._hub.users)
        for first in range(0, len(users), AT_ONCE):
            await self._check_users(users[first : first + AT_ONCE])

    async def _check_users(self, user_ids: list[str]) -> None:
        found = await snapshot.memberships(self._pool, user_ids)
        for user_id in user_ids:
            local = self._hub.users.get(user_id)
            now = found.get(user_id, (0, 0, 0))
            if local is not None and local.memberships != now and now[0] <= snapshot.MAX_FOLLOWED:
                self._following.look_again(user_id)
        for user_id in await snapshot.removed(self._pool, [one for one in user_ids if one not in found]):
            if (local := self._hub.users.get(user_id)) is not None:
                for listener in local.listeners:
                    listener.end(codes.NO_USER)
