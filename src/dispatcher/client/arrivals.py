"""Arrivals: turns the frames of the socket into the application's events, and knows how far each conversation has come."""

from collections.abc import Mapping, Sequence
from typing import Any

from dispatcher.client.events import (
    Arrived,
    Changed,
    Connected,
    Event,
    Presence,
    Rearranged,
    Receipts,
    Typing,
)
from dispatcher.client.gaps import Gaps
from dispatcher.client.mailbox import Mailbox
from dispatcher.client.models import Conversation, Message, Position
from dispatcher.client.track import Track

MAX_NAMED = 1000
"""Conversations whose positions a hello says, the latest active first; in the others gaps are looked for here."""

_OUT = {"left", "closed"}
Fields = Mapping[str, Any]


class Arrivals:
    """What one client has got."""

    def __init__(self, mailbox: Mailbox, gaps: Gaps, positions: Mapping[int, Position] | None) -> None:
        """Without positions the client begins with what is sent from now on."""
        self._mailbox, self._gaps = mailbox, gaps
        self._tracks = {id_: Track(one) for id_, one in (positions or {}).items()}
        self._delivered = {id_: one.seq for id_, one in (positions or {}).items()}
        self._read: dict[int, int] = {}
        self._user_id = ""
        self._knows_all = positions is not None
        """Whether a conversation that is not known is a new one."""
        self._guessed: set[int] = set()
        """Conversations of which it is known where they stood a moment after this client began to listen."""
        self._named: set[int] = set()

    @property
    def positions(self) -> Mapping[int, Position]:
        """How far the application has come."""
        return {id_: track.taken for id_, track in self._tracks.items()}

    def named(self) -> Mapping[str, tuple[int, int]]:
        """The positions that the next hello says."""
        latest = sorted(self._tracks, key=lambda id_: self._tracks[id_].id, reverse=True)[:MAX_NAMED]
        self._named = set(latest)
        return {str(id_): (self._tracks[id_].seq, self._tracks[id_].change) for id_ in latest}

    async def hello(self, user_id: str, conversations: Sequence[Conversation], *, more: bool) -> None:
        """The client is connected; these are the latest active conversations, and all of them unless there are more."""
        self._user_id = user_id
        await self._mailbox.room()
        self._mailbox.put(Connected(user_id, conversations))
        if not more:
            for id_ in self._tracks.keys() - {one.id for one in conversations}:
                self._forget(id_)
        for one in conversations:
            self._stands(one)
        if more:
            self._gaps.look(self._stands_too, self._all_stand)
        else:
            self._knows_all = True

    def _stands(self, one: Conversation) -> None:
        """A conversation stands there: is something missing of it that the service does not know to be missing?"""
        if one.id not in self._tracks:
            # One that came to be while nobody was listening is new from its first message on.
            seq = one.joined_seq if self._knows_all else one.last_seq
            self._tracks[one.id] = Track(Position(seq, one.last_change))
        if one.id not in self._named:
            self._exists(one.id, one.last_seq, one.last_change)

    def _stands_too(self, one: Conversation) -> None:
        """The same of one that a hello does not list, as it stands a moment later."""
        if not self._knows_all and one.id not in self._tracks:
            self._guessed.add(one.id)
        self._stands(one)

    def _all_stand(self) -> None:
        self._knows_all = True

    async def frame(self, type_: str, fields: Fields) -> None:
        """A frame that nobody has asked for. One that is not known is of a newer service, and left out."""
        await self._mailbox.room()
        match type_:
            case "message":
                self._message(fields)
            case "changed":
                self._changed(Message.of(fields["message"]), fields["change"])
            case "behind":
                self._exists(fields["conversation_id"], fields["seq"], fields["change"])
            case "receipts":
                marks = {one["user_id"]: (one["delivered_seq"], one["read_seq"]) for one in fields["marks"]}
                self._mailbox.put(Receipts(fields["conversation_id"], marks))
            case "conversation":
                self._rearranged(fields)
            case "typing":
                self._mailbox.put(Typing(fields["conversation_id"], fields["user_id"]))
            case "presence":
                online = {one["user_id"]: one["online"] for one in fields["users"]}
                self._mailbox.put(Presence(online))

    def taken(self, event: Event) -> int | None:
        """The application has this event. The conversation in which there is something to be acknowledged now."""
        if isinstance(event, Arrived):
            message = event.message
            if (track := self._tracks.get(message.conversation_id)) is not None:
                track.taken = Position(message.seq, track.taken.change, message.id)
            self.received(message.conversation_id, message.seq)
            return message.conversation_id
        if isinstance(event, Changed) and (track := self._tracks.get(event.message.conversation_id)):
            track.taken = Position(track.taken.seq, event.change, track.taken.id)
        return None

    def received(self, conversation_id: int, seq: int) -> None:
        """The application has the messages up to this one, wherever from."""
        self._delivered[conversation_id] = max(self._delivered.get(conversation_id, 0), seq)

    def read(self, conversation_id: int, seq: int) -> None:
        """A person has seen the messages up to this one."""
        self._read[conversation_id] = max(self._read.get(conversation_id, 0), seq)

    def marks(self, conversation_id: int) -> tuple[int, int]:
        """How far the application has received, and a person has read, as far as this client was told."""
        return self._delivered.get(conversation_id, 0), self._read.get(conversation_id, 0)

    def _message(self, fields: Fields) -> None:
        message = Message.of(fields["message"])
        track = self._tracks.get(message.conversation_id)
        guessed = message.conversation_id in self._guessed
        self._guessed.discard(message.conversation_id)
        if track is None or (guessed and message.seq <= track.seq):
            # Where this client knows all it is of a new one; else the first that has come since it listens.
            begins = Position(0) if self._knows_all and not guessed else Position(message.seq - 1)
            track = self._tracks[message.conversation_id] = Track(begins)
        if track.arrived(message):
            track.passed(message)
            self._mailbox.put(Arrived(message))
            if (marks := fields.get("marks")) is not None:
                who = {message.sender_id: (marks[0], marks[1])}
                self._mailbox.put(Receipts(message.conversation_id, who))
        elif track.missing:
            self._gaps.want(message.conversation_id, track)

    def _changed(self, message: Message, change: int) -> None:
        track = self._tracks.get(message.conversation_id)
        if track is None or track.changed(message, change):
            self._mailbox.put(Changed(message, change))
        elif track.missing:
            self._gaps.want(message.conversation_id, track)

    def _exists(self, conversation_id: int, seq: int, change: int) -> None:
        track = self._tracks.get(conversation_id)
        if track is None:
            return  # what comes behind it says where it begins
        track.exists(seq)
        track.skipped(change)
        if track.missing:
            self._gaps.want(conversation_id, track)
        else:
            self._gaps.settle(conversation_id, track)

    def _rearranged(self, fields: Fields) -> None:
        id_, what = fields["conversation_id"], fields["what"]
        shown = fields.get("conversation")
        conversation = None if shown is None else Conversation.of(shown)
        self._mailbox.put(Rearranged(id_, what, fields["user_ids"], conversation))
        if conversation is not None and id_ not in self._tracks:
            begins = Position(conversation.joined_seq, conversation.last_change)
            self._tracks[id_] = Track(begins)  # its messages follow
        elif what in _OUT and self._user_id in fields["user_ids"]:
            self._forget(id_)

    def _forget(self, conversation_id: int) -> None:
        self._tracks.pop(conversation_id, None)
        self._delivered.pop(conversation_id, None)
        self._read.pop(conversation_id, None)
        self._gaps.forget(conversation_id)
