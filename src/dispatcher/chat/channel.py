"""The channel of the lane `chat`: a message that is due is sent into its conversation."""

import asyncio
from collections.abc import Sequence

from dispatcher.channels.contract import Delivered, Envelope, Outcome, Rejected, Retry
from dispatcher.chat.schedule import due, find_sent
from dispatcher.chat.send import Sender
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import NOT_NOW, Pool
from dispatcher.kernel.errors import DispatcherError


class ConversationChannel:
    """A `BatchChannel`. Sent again after a crash, a message is found to be there already."""

    problem: str | None = None

    def __init__(self, sender: Sender, pool: Pool) -> None:
        self._sender, self._pool = sender, pool

    async def deliver_batch(self, envelopes: Sequence[Envelope], *, until: float) -> Sequence[Outcome | None]:
        """Send these, in this order; an outcome for each."""
        seconds = until - elapsed()
        if seconds <= 0:
            return [None] * len(envelopes)
        return await asyncio.gather(*(self._deliver(one, seconds) for one in envelopes))

    def give_up(self) -> None:
        """Nothing: the sender answers within seconds, whatever Postgres does."""

    async def _deliver(self, envelope: Envelope, seconds: float) -> Outcome:
        new = due(envelope.message_id, envelope.recipient, envelope.content)
        if new is None:
            return Rejected("the recipient of this lane is a conversation and a user, e.g. 17/alice")
        try:
            async with asyncio.timeout(seconds):
                before = (
                    await find_sent(self._pool, new, envelope.message_id) if envelope.attempt > 1 else None
                )
                message = before or (await self._sender.send(new)).message
        except NOT_NOW as error:
            return Retry(str(error) or "no answer in time", maybe_delivered=True)
        except DispatcherError as error:
            return Rejected(error.detail)
        return Delivered(message.sent_at.timestamp(), receipt_id=f"{new.conversation_id}/{message.id}")
