"""Hub: this replica's users, the streams they follow, and what has happened on its way from the one to the other.

Everything here happens at once, on the event loop, from memory. Where something is missing it says so (`missing`, `joined`)
and others fetch it from Postgres.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never

from dispatcher.chat.happened import Changed, Marked, Rearranged, Sent
from dispatcher.chat.live import frames
from dispatcher.chat.live.listener import Listener
from dispatcher.chat.live.passing import Came, Typed
from dispatcher.chat.live.stream import Stream
from dispatcher.chat.live.wire import Told
from dispatcher.chat.message import ChatMessage

Concerned: TypeAlias = Literal["everybody", "others"] | tuple[str]
"""Whom a happening is passed on to here: all it concerns, all but those it names, or one user alone."""


@dataclass(slots=True, eq=False)
class Local:
    """A user with sockets on this replica."""

    listeners: list[Listener] = field(default_factory=list)
    following: set[int] = field(default_factory=set)
    memberships: tuple[int, int, int] = (0, 0, 0)
    """Their fingerprint, as last read."""
    holders: int = 0
    """Sockets, those that are just coming included."""
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Their conversations are looked at by one at a time: an older look must not undo what a newer one has found."""
    turn: int = 0
    """How often they were said to have left something: a look that was under way then may be from before."""


@dataclass(slots=True, eq=False)
class Watched:
    """A user of whom some sockets here want to know whether they are there."""

    listeners: set[Listener] = field(default_factory=set)
    said: bool | None = None
    """What they were told last."""


class Hub:
    """Passes on."""

    def __init__(
        self,
        *,
        missing: Callable[[Stream], None],
        joined: Callable[[str], None],
        began: Callable[[Stream], None],
        ended: Callable[[Stream], None],
    ) -> None:
        """What it calls.

        Args:
            missing: When a stream has a hole.
            joined: When a user may have a conversation that they do not follow.
            began: When a stream is followed here for the first time.
            ended: When nobody here follows it any longer.
        """
        self.users: dict[str, Local] = {}
        self.streams: dict[int, Stream] = {}
        self.watchers: dict[str, Watched] = {}
        """Of each user that is watched, by whom."""
        self._missing, self._joined = missing, joined
        self._began, self._ended = began, ended

    def happened(self, told: Told, concerned: Concerned = "everybody") -> None:
        """Pass it on to the sockets that it concerns."""
        match told:
            case Sent(message):
                self._sent(message, concerned)
            case Changed(message):
                self._changed(message)
            case Marked():
                self.marked(told)
            case Rearranged():
                self._rearranged(told, concerned)
            case Typed():
                self._typed(told)
            case Came():
                self._came(told)
            case _:
                assert_never(told)

    def follow(self, user_id: str, stream: Stream, *, joined_seq: int) -> None:
        """The user is told what this stream passes on, behind where they joined."""
        if stream.conversation_id not in self.streams:
            self.streams[stream.conversation_id] = stream
            self._began(stream)
        stream.followers[user_id] = joined_seq
        self.users[user_id].following.add(stream.conversation_id)

    def unfollow(self, user_id: str, conversation_id: int) -> None:
        """They no longer are; a stream that nobody here follows ends."""
        if (local := self.users.get(user_id)) is not None:
            local.following.discard(conversation_id)
            for listener in local.listeners:
                listener.forget(conversation_id)
        if (stream := self.streams.get(conversation_id)) is not None:
            stream.followers.pop(user_id, None)
            if not stream.followers:
                del self.streams[conversation_id]
                self._ended(stream)

    def brought(self, stream: Stream, messages: Sequence[ChatMessage]) -> None:
        """What was fetched for the stream, all that is behind its seq, or the newest of it where that is too much."""
        for message in messages:
            self._pass(stream, stream.arrived(message))
        if messages and stream.seq < messages[-1].seq:
            stream.jump(messages[-1].seq)
            frame = frames.behind(stream.conversation_id, stream.seq, stream.change)
            self._to_followers(stream, stream.seq, frame, frame, "", is_change=False)

    def brought_changes(self, stream: Stream, messages: Sequence[ChatMessage], *, up_to: int) -> None:
        """All changes behind the stream's `change`, up to this one."""
        self._pass_changes(stream, stream.fetched_changes(messages, up_to=up_to))

    def marked(self, told: Marked) -> None:
        """How far a member is: for themselves, the other one of two, and in groups for those whose messages these are."""
        stream = self.streams.get(told.conversation_id)
        if stream is None:
            return
        moved = stream.marked(told.user_id, (told.delivered_seq, told.read_seq))
        if moved is None:
            return
        old, new = moved
        concerned = set(stream.pair) if stream.pair is not None else stream.authors(old, new)
        if new[1] == old[1]:  # what one device has received is nothing to the others of the same user
            concerned.discard(told.user_id)
        elif stream.pair is None:
            concerned.add(told.user_id)
        for user_id in concerned:
            for listener in self._listeners(stream, user_id):
                listener.receipt(stream.conversation_id, told.user_id, new)

    def _sent(self, message: ChatMessage, concerned: Concerned) -> None:
        stream = self.streams.get(message.conversation_id)
        if stream is None:
            if isinstance(concerned, tuple):
                self._joined(concerned[0])
            return
        self._pass(stream, stream.arrived(message))
        if stream.missing:
            self._missing(stream)

    def _changed(self, message: ChatMessage) -> None:
        stream = self.streams.get(message.conversation_id)
        if stream is not None:
            self._pass_changes(stream, stream.changed(message))
            if stream.missing_changes:
                self._missing(stream)

    def _pass(self, stream: Stream, leaving: Iterable[ChatMessage]) -> None:
        for message in leaving:
            marks = None if stream.pair is None else stream.marks.get(message.sender_id)
            theirs = frames.message(message, mine=False, marks=marks)
            mine = theirs
            if message.client_id is not None and message.sender_id in stream.followers:
                mine = frames.message(message, mine=True, marks=marks)
            self._to_followers(stream, message.seq, theirs, mine, message.sender_id, is_change=False)

    def _pass_changes(self, stream: Stream, leaving: Iterable[ChatMessage]) -> None:
        for message in leaving:
            theirs, mine = (frames.changed(message, mine=mine) for mine in (False, True))
            self._to_followers(
                stream, message.seq, theirs, mine, message.sender_id, is_change=True, change=message.change
            )

    def _to_followers(
        self,
        stream: Stream,
        seq: int,
        theirs: str,
        mine: str,
        sender_id: str,
        *,
        is_change: bool,
        change: int | None = None,
    ) -> None:
        number = seq if change is None else change
        for user_id, joined_seq in stream.followers.items():
            if seq <= joined_seq:
                continue
            frame = mine if user_id == sender_id else theirs
            for listener in self.users[user_id].listeners:
                listener.of_stream(stream.conversation_id, frame, number=number, is_change=is_change)

    def _rearranged(self, told: Rearranged, concerned: Concerned) -> None:
        id_, about = told.conversation_id, set(told.user_ids)
        stream = self.streams.get(id_)
        followers = set(stream.followers) if stream is not None else set()
        if isinstance(concerned, tuple):
            whom = (followers | about) & set(concerned)
        else:
            whom = followers - about if concerned == "others" else followers | about
        frame = frames.conversation(id_, told.what, told.user_ids, None)
        # What another replica says may have waited for Redis, and be over: then only a look says who left. Closed is for good.
        looked_up = {"opened", "joined"} | ({"left"} if isinstance(concerned, tuple) else set())
        for user_id in whom & self.users.keys():
            local = self.users[user_id]
            if user_id in about and told.what in {"opened", "joined", "left", "closed"}:
                self._joined(user_id)  # also who left: they may be back already, and nobody may have said so
            if user_id in about and told.what in {"left", "closed"}:
                local.turn += 1
            if user_id in about and told.what in looked_up:
                continue
            for listener in local.listeners:
                listener.frame(frame)
            if user_id in about and told.what in {"left", "closed"}:
                self.unfollow(user_id, id_)

    def _came(self, told: Came) -> None:
        watched = self.watchers.get(told.user_id)
        if watched is None:
            return
        watched.said = told.online
        frame = frames.presence([(told.user_id, told.online)])
        for listener in watched.listeners:
            listener.passing(("presence", told.user_id), frame)

    def _typed(self, told: Typed) -> None:
        stream = self.streams.get(told.conversation_id)
        if stream is None:
            return
        frame = frames.typing(told.conversation_id, told.user_id)
        for user_id in stream.followers:
            if user_id != told.user_id:
                for listener in self._listeners(stream, user_id):
                    listener.passing(("typing", told.conversation_id, told.user_id), frame)

    def _listeners(self, stream: Stream, user_id: str) -> Sequence[Listener]:
        return self.users[user_id].listeners if user_id in stream.followers else ()
