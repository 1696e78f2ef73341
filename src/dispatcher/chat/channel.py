"""The channel of the lane `chat`: a message that is due is sent into its conversation."""

import asyncio
from collections.abc import Sequence

from dispatcher.channels.contract import Delivered, Envelope, Outcome, Rejected, Retry
from dispatcher.chat.ids import sent_at
from dispatcher.chat.schedule import due
from dispatcher.chat.send import NewChatMessage, Sender
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import NOT_NOW, Pool
from dispatcher.kernel.errors import DispatcherError

SENT_BEFORE = "SELECT id FROM chat_messages WHERE conversation_id = $1 AND sender_id = $2 AND client_id = $3"


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
                id_ = await self._sent_before(new) if envelope.attempt > 1 else None
                if id_ is None:
                    id_ = (await self._sender.send(new)).message.id
        except NOT_NOW as error:
            return Retry(str(error) or "no answer in time", maybe_delivered=True)
        except DispatcherError as error:
            return Rejected(error.detail)
        return Delivered(sent_at(id_), receipt_id=f"{new.conversation_id}/{id_}")

    async def _sent_before(self, new: NewChatMessage) -> int | None:
        """The id it has in its conversation, if an earlier attempt has sent it, however long ago that was."""
        found: int | None = await self._pool.fetchval(
            *(SENT_BEFORE, new.conversation_id, new.sender_id, new.client_id)
        )
        return found
