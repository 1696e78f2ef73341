"""One by one: a lane that keeps times, on a channel that takes one message at a time."""

import asyncio
from collections.abc import Sequence

from dispatcher.channels.contract import Envelope, Outcome
from dispatcher.delivery.lane import ChannelPool, Lane
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

    async def deliver_batch(
        self, envelopes: Sequence[Envelope], *, seconds: float
    ) -> Sequence[Outcome | None]:
        """An outcome for each."""
        config = self._live.value
        borrowed = self._channels.borrow(config, self._lane.terms(config))
        try:
            return await asyncio.gather(
                *(borrowed.channel.deliver(envelope, seconds=seconds) for envelope in envelopes)
            )
        finally:
            await self._channels.give_back(borrowed)
