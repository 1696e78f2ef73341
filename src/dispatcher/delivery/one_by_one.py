"""One by one: a lane that keeps times, on a channel that takes one message at a time."""

import asyncio
from collections.abc import Sequence

from dispatcher.channels.contract import Envelope, Outcome
from dispatcher.delivery.lane import ChannelPool, Lane
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.live import Live
from dispatcher.live_config.model import LiveConfig


class OneByOne:
    """The messages of a batch at the same time, each through the channel to where the lane's target is now."""

    def __init__(self, lane: Lane, channels: ChannelPool, live: Live[LiveConfig]) -> None:
        self._lane = lane
        self._channels = channels
        self._live = live

    @property
    def problem(self) -> str | None:
        """None: what is wrong with a target is found out by trying."""
        return None

    async def deliver_batch(self, envelopes: Sequence[Envelope], *, until: float) -> Sequence[Outcome | None]:
        """An outcome for each."""
        config, seconds = self._live.value, until - elapsed()
        if seconds <= 0:
            return [None] * len(envelopes)
        borrowed = self._channels.borrow(config, self._lane.terms(config))
        try:
            async with asyncio.TaskGroup() as attempts:
                tasks = [
                    attempts.create_task(borrowed.channel.deliver(envelope, seconds=seconds))
                    for envelope in envelopes
                ]
            return [task.result() for task in tasks]
        finally:
            await self._channels.give_back(borrowed)

    def give_up(self) -> None:
        """Nothing: what has begun is with the other side, and ends by its own deadline."""
