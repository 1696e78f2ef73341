"""Filler: fetches from Postgres what streams miss, for all of them together, and what a socket that comes back misses."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import structlog

from dispatcher.chat.happened import Marked
from dispatcher.chat.live import frames, snapshot
from dispatcher.chat.live.hub import Hub
from dispatcher.chat.live.listener import Held, Listener
from dispatcher.chat.live.protocol import MAX_SYNC
from dispatcher.chat.live.snapshot import Wanted
from dispatcher.chat.live.stream import Stream
from dispatcher.chat.message import ChatMessage
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import TROUBLE, Pool

log = structlog.get_logger()

PATIENCE_SECONDS = 0.03
"""What came out of turn over Redis most often has its place filled by Redis itself: from another replica, a bit later."""
RETRY_SECONDS = 0.5
AT_ONCE = 50
"""Streams a statement."""
COMPARED_AT_ONCE = 1000
"""Streams a statement that only asks how far their conversations are."""
MAX_RESUME = 1000
"""Messages that one socket is brought when it comes back, over all its conversations."""


class Behind:
    """A socket that has a conversation up to `seq` and `change`, and wants the rest; what comes meanwhile is held."""

    __slots__ = ("change", "held", "joined_seq", "seq", "stream")

    def __init__(self, stream: Stream, held: Held, *, seq: int, change: int, joined_seq: int) -> None:
        self.stream, self.held, self.joined_seq = stream, held, joined_seq
        self.seq, self.change = seq, change

    def is_over(self, listener: Listener) -> bool:
        """Whether the user has left meanwhile, or left and come again: then this is not for them, or comes anew."""
        return not listener.holds(self.stream.conversation_id, self.held)


class Filler:
    """Brings what is missing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._wanted: set[Stream] = set()
        self._begun: set[int] = set()
        self._filled = asyncio.Event()
        self.filled = 0
        """Messages and changes that were fetched because Redis did not bring them, since the start."""

    def want(self, stream: Stream) -> None:
        """The stream misses something."""
        self._wanted.add(stream)
        self._filled.set()

    def begun(self, stream: Stream) -> None:
        """The stream begins where a look found its conversation: what was told since then had nowhere to go."""
        self._begun.add(stream.conversation_id)
        self._filled.set()

    async def run(self, hub: Hub) -> None:
        """Fill holes, forever."""
        while True:
            await self._filled.wait()
            await pause(PATIENCE_SECONDS)
            self._filled.clear()
            begun, self._begun = self._begun, set()
            wanted: list[Stream] = []
            try:
                await self.compare(hub, begun)
                wanted = [one for one in self._wanted if one.missing or one.missing_changes]
                self._wanted.clear()
                for first in range(0, len(wanted), AT_ONCE):
                    await self._fill(hub, wanted[first : first + AT_ONCE])
            except TROUBLE as error:
                log.warning(
                    "chat_holes_unfilled",
                    streams=len(begun) + len(wanted),
                    error=str(error) or type(error).__name__,
                )
                self._begun |= begun
                self._wanted.update(wanted)
                self._filled.set()
                await pause(RETRY_SECONDS)

    async def compare(self, hub: Hub, conversation_ids: Iterable[int]) -> None:
        """Have fetched what Postgres has of these and their streams have not; how far members of two are at once."""
        ids = list(conversation_ids)
        for first in range(0, len(ids), COMPARED_AT_ONCE):
            await self._compare(hub, ids[first : first + COMPARED_AT_ONCE])

    async def _compare(self, hub: Hub, ids: Sequence[int]) -> None:
        for id_, (seq, change) in (await snapshot.heads(self._pool, ids)).items():
            stream = hub.streams.get(id_)
            if stream is None:
                continue
            stream.known = max(stream.known, seq)
            stream.change_known = max(stream.change_known, change)
            if stream.missing or stream.missing_changes:
                self.want(stream)
        pairs = [id_ for id_ in ids if (one := hub.streams.get(id_)) is not None and one.pair]
        if pairs:
            for conversation_id, user_id, delivered, read in await snapshot.marks(self._pool, pairs):
                hub.marked(Marked(conversation_id, user_id, delivered, read))

    async def _fill(self, hub: Hub, streams: Sequence[Stream]) -> None:
        up_to = {
            one: one.change_known for one in streams
        }  # before the look: what comes during it is not in it
        # The changes first: they are then of messages that the second statement finds too.
        changes = await snapshot.changes(
            self._pool,
            [Wanted(one.conversation_id, one.change) for one in streams if one.missing_changes],
            at_most=MAX_SYNC,
        )
        messages = await snapshot.behind(
            self._pool,
            [Wanted(one.conversation_id, one.seq) for one in streams],
            at_most=MAX_SYNC,
        )
        for stream in streams:
            if stream.conversation_id not in hub.streams:
                continue
            found = messages[stream.conversation_id]
            self.filled += sum(one.seq > stream.seq for one in found)
            hub.brought(stream, found)
            changed = changes.get(stream.conversation_id)
            if changed is not None:
                self.filled += len(changed)
                last = changed[-1].change if len(changed) == MAX_SYNC else None
                hub.brought_changes(stream, changed, up_to=up_to[stream] if last is None else last)
            if stream.missing or stream.missing_changes:
                self.want(stream)

    async def catch_up(self, hub: Hub, listener: Listener, behind: Sequence[Behind]) -> None:
        """Bring one socket what it misses, conversation after conversation; the hub holds back the rest meanwhile.

        Raises one of UNAVAILABLE when Postgres does not answer: the socket has holes then, and is to be closed.
        """
        budget = MAX_RESUME
        for first in range(0, len(behind), AT_ONCE):
            fetched: list[Behind] = []
            for one in behind[first : first + AT_ONCE]:
                if one.is_over(listener):
                    continue
                missing = max(one.stream.seq - one.seq, 0)
                if missing > min(budget, MAX_SYNC):
                    _skip(listener, one)
                else:
                    budget -= missing
                    fetched.append(one)
            changes = await snapshot.changes(
                self._pool,
                [Wanted(one.stream.conversation_id, min(one.change, one.stream.change)) for one in fetched],
                at_most=MAX_SYNC,
            )
            wanted = [Wanted(one.stream.conversation_id, min(one.seq, one.stream.seq)) for one in fetched]
            messages = await snapshot.behind(self._pool, wanted, at_most=2 * MAX_SYNC)
            for one, asked in zip(fetched, wanted, strict=True):
                id_ = one.stream.conversation_id
                await _bring(hub, listener, one, messages[id_], changes[id_], asked=asked.number)


async def _bring(
    hub: Hub,
    listener: Listener,
    one: Behind,
    messages: Sequence[ChatMessage],
    changes: Sequence[ChatMessage],
    *,
    asked: int,
) -> None:
    stream, id_ = one.stream, one.stream.conversation_id
    if hub.streams.get(id_) is stream:  # the stream may be behind as well; from here on it is not
        hub.brought(stream, messages)
        if changes and len(changes) < MAX_SYNC:
            hub.brought_changes(stream, changes, up_to=changes[-1].change or 0)
    if one.is_over(listener):
        return
    if (messages and messages[0].seq > asked + 1) or len(changes) == MAX_SYNC:
        _skip(listener, one)
        return
    last = max(one.seq, messages[-1].seq if messages else 0)
    last_change = max(one.change, (changes[-1].change or 0) if changes else 0)
    for frame in _frames(listener.user_id, one, messages, changes):
        await listener.room()
        if one.is_over(listener):
            return
        listener.frame(frame)
    listener.let_go(id_, seq=last, change=last_change)


def _frames(
    user_id: str, one: Behind, messages: Sequence[ChatMessage], changes: Sequence[ChatMessage]
) -> Iterator[str]:
    stream = one.stream
    for message in messages:
        if message.seq > one.seq:
            marks = None if stream.pair is None else stream.marks.get(message.sender_id)
            yield frames.message(message, mine=message.sender_id == user_id, marks=marks)
    for message in changes:  # of the messages above all is said already
        if one.joined_seq < message.seq <= one.seq and (message.change or 0) > one.change:
            yield frames.changed(message, mine=message.sender_id == user_id)


def _skip(listener: Listener, one: Behind) -> None:
    stream = one.stream
    listener.frame(frames.behind(stream.conversation_id, stream.seq, stream.change))
    listener.let_go(stream.conversation_id, seq=stream.seq, change=stream.change)
