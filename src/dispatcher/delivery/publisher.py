"""The publisher: lets others read the schedule's state from Redis, without the ticker ever waiting for Redis."""

import asyncio

from dispatcher.delivery import receipts
from dispatcher.delivery.schedule import Look
from dispatcher.delivery.state import scheduler_state
from dispatcher.kernel.redis import BoundedRedis


class StatePublisher:
    """Writes the latest state that it was offered; those in between are skipped."""

    def __init__(self, redis: BoundedRedis) -> None:
        self._redis = redis
        self._offered: Look | None = None
        self._fresh = asyncio.Event()

    def offer(self, seen: Look) -> None:
        """Publish this, soon, if it differs from what was offered last."""
        if self._offered is None or seen.schedule != self._offered.schedule:
            self._offered = seen
            self._fresh.set()

    async def run(self) -> None:
        """Publish forever."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            if self._offered is not None:
                interval = self._offered.schedule.pace.interval.total_seconds()
                lane, state = self._offered.schedule.lane, scheduler_state(self._offered)
                await receipts.publish_state(self._redis, lane, state, interval=interval)
