"""Answer: what is done with each frame of a client."""

from typing import assert_never

from dispatcher.chat.history import behind, changes
from dispatcher.chat.live import frames
from dispatcher.chat.live.fanout import FanOut
from dispatcher.chat.live.marking import Marking
from dispatcher.chat.live.passing import Typed
from dispatcher.chat.live.protocol import (
    MAX_SYNC,
    Ack,
    Frame,
    Hello,
    Ping,
    Read,
    Refresh,
    Send,
    Sync,
    Typing,
    Watch,
)
from dispatcher.chat.live.session import Session
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.schedule import find_earlier, is_later
from dispatcher.chat.seat import find_seat
from dispatcher.chat.send import NewChatMessage, Sender, SendResult
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.errors import (
    ConflictError,
    DispatcherError,
    InvalidRequestError,
    NotFoundError,
)

MAX_BUSY = 32
"""Messages of one socket that are being written; it is read no further until there are fewer."""
MAX_PAGE_BYTES = 256 * 1024
TYPING_EVERY_SECONDS = 2.0
MAX_TYPED_TO = 256
"""Users of one conversation on this replica; where there are more, nobody is told that one of them is typing."""


class Answers:
    """Answers."""

    def __init__(self, sender: Sender, pairs: Pairs, marking: Marking, fanout: FanOut) -> None:
        self._sender, self._pairs, self._marking, self._fanout = sender, pairs, marking, fanout

    async def __call__(self, session: Session, frame: Frame) -> None:
        """Answer one frame.

        Raises:
            DispatcherError: It cannot be done.
        """
        listener = session.listener
        match frame:
            case Send():
                await self._send(session, frame)
            case Ack(conversation_id=id_, seq=seq):
                self._marking.want(listener, id_, delivered=seq)
            case Read(conversation_id=id_, seq=seq):
                self._marking.want(listener, id_, read=seq)
            case Typing(conversation_id=id_):
                self._typing(session, id_)
            case Sync():
                await _sync(session, frame)
            case Watch(user_ids=user_ids):
                states = await session.parts.presence.watch(listener, user_ids)
                listener.frame(frames.presence(states, id_=frame.id))
            case Refresh():
                await session.refresh(frame)
                listener.frame(frames.encode("refreshed", id=frame.id))
            case Ping():
                listener.frame(frames.encode("pong", id=frame.id))
            case Hello():
                raise InvalidRequestError("there was a hello already")
            case _:
                assert_never(frame)

    async def _send(self, session: Session, frame: Send) -> None:
        if is_later(frame.timestamp):
            raise InvalidRequestError(
                "timestamp: is ahead; messages for later go in over REST: POST /api/v1/messages"
            )
        me = session.listener.user_id
        if frame.conversation_id is not None:
            conversation_id = frame.conversation_id
        else:
            assert frame.receiver_id is not None
            conversation_id = await self._pairs.open(me, frame.receiver_id)
        new = NewChatMessage(conversation_id, me, frame.content, frame.client_id, frame.timestamp)
        if (earlier := await find_earlier(session.parts.pool, new)) is not None:
            scheduled, result = earlier
            if result is None:
                raise ConflictError(
                    f"client_id: was given to a message for later, scheduled_id {scheduled.message_id}, "
                    f"which is {scheduled.outcome}"
                )
            _sent(session, frame, result)
            return
        # Beside reading, so that a client need not wait for one before it sends the next; begun in their order.
        await session.write(self._write(session, frame, new), at_once=MAX_BUSY)

    async def _write(self, session: Session, frame: Send, new: NewChatMessage) -> None:
        try:
            result = await self._sender.send(new)
        except DispatcherError as error:
            session.listener.frame(frames.error(frame.id, error))
            return
        _sent(session, frame, result)

    def _typing(self, session: Session, conversation_id: int) -> None:
        stream = session.parts.hub.streams.get(conversation_id)
        me = session.listener.user_id
        if stream is None or me not in stream.followers:
            raise NotFoundError(f"there is no conversation {conversation_id}")
        if elapsed() - session.typed >= TYPING_EVERY_SECONDS and len(stream.followers) <= MAX_TYPED_TO:
            session.typed = elapsed()
            self._fanout.tell(Typed(conversation_id, me))


def _sent(session: Session, frame: Send, result: SendResult) -> None:
    message = frames.view(result.message, mine=True)
    session.listener.frame(frames.encode("sent", id=frame.id, repeated=result.repeated, message=message))


async def _sync(session: Session, frame: Sync) -> None:
    pool, me = session.parts.pool, session.listener.user_id
    seat = await find_seat(pool, frame.conversation_id, me)
    changed = [] if frame.change is None else await changes(pool, seat, frame.change, limit=MAX_SYNC)
    found = await behind(pool, seat, frame.seq, at_most=MAX_SYNC)
    views, size = [], 0
    for message in found or ():
        views.append(frames.view(message, mine=message.sender_id == me))
        size += len(message.content)
        if size > MAX_PAGE_BYTES:
            break
    session.listener.frame(
        frames.encode(
            "page",
            id=frame.id,
            conversation_id=frame.conversation_id,
            messages=views,
            changes=[frames.view(one, mine=one.sender_id == me) | {"change": one.change} for one in changed],
            complete=found is not None and len(views) == len(found) and len(changed) < MAX_SYNC,
            too_far=found is None,
            last_seq=seat.last_seq,
            last_change=seat.last_change,
        )
    )
