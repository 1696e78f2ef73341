"""Hearing: what the service tells of one conversation, brought before a face that shows it."""

from collections.abc import Sequence
from typing import Protocol

from dispatcher.cli.chat_talk import Talk
from dispatcher.client import (
    Arrived,
    Changed,
    ChatClient,
    Connected,
    Conversation,
    Disconnected,
    Event,
    Message,
    Presence,
    Rearranged,
    Receipts,
    Typing,
)
from dispatcher.kernel.clock import elapsed

MAX_WATCHED = 100


class Face(Protocol):
    """How a room is shown."""

    reads: bool
    """Whether what it shows is read by a person."""

    def message(self, message: Message) -> None:
        """The next message."""
        ...

    def changed(self, message: Message) -> None:
        """A message that was shown is another one now."""
        ...

    def older(self, messages: Sequence[Message]) -> None:
        """These older messages are in front of the others now."""
        ...

    def redraw(self) -> None:
        """Something else of the talk is different."""
        ...

    def note(self, text: str) -> None:
        """A word to the user, of no message."""
        ...


class Hearing:
    """Keeps a talk up to date."""

    def __init__(self, client: ChatClient, talk: Talk, to: str | int, face: Face, *, reads: bool) -> None:
        """`reads`: what is shown has been read."""
        self.connected = True
        self._client, self._talk, self._to, self._face, self._reads = client, talk, to, face, reads

    def begin(self) -> None:
        """Show what there is."""
        for message in self._talk.messages:
            self._face.message(message)
        if self._talk.conversation_id is not None and self._talk.last_seq:
            self._client.received(self._talk.conversation_id, self._talk.last_seq)
        self._shown()
        self._watch()

    def read(self) -> None:
        """The user has read everything."""
        if self._talk.conversation_id is not None and self._talk.last_seq:
            self._client.read(self._talk.conversation_id, self._talk.last_seq)

    def happened(self, event: Event) -> None:
        """Something has; what is of another conversation is left out."""
        match event:
            case Connected(conversations=conversations):
                self.connected = True
                for one in conversations:
                    self._stands(one)
            case Disconnected(reason, seconds):
                self.connected = False
                self._face.note(f"{reason}; connecting again in {seconds:.1f} s")
            case Presence(online):
                self._talk.online |= online
            case Rearranged(conversation=Conversation() as one):
                self._stands(one)
            case _:
                self._of_talk(event)
        self._face.redraw()

    def _of_talk(self, event: Event) -> None:
        talk, here = self._talk, self._talk.conversation_id
        match event:
            case Arrived(message) if message.conversation_id == here:
                if talk.arrived(message):
                    self._face.message(message)
                self._shown()
            case Changed(message) if message.conversation_id == here:
                if talk.changed(message):
                    self._face.changed(message)
            case Receipts(conversation_id, marks) if conversation_id == here:
                talk.received(marks)
            case Typing(conversation_id, who) if conversation_id == here:
                talk.typed(who, elapsed())
            case Rearranged(conversation_id, what, user_ids) if conversation_id == here:
                if what in {"left", "closed"}:
                    for one in user_ids:
                        talk.marks.pop(one, None)
                self._face.note(f"{', '.join(user_ids) or 'the conversation'}: {what}")
            case _:
                pass

    def _stands(self, one: Conversation) -> None:
        if isinstance(self._to, str) and one.peer_id == self._to:
            self._talk.conversation_id = one.id
            self._talk.received({self._to: (one.peer_delivered_seq or 0, one.peer_read_seq or 0)})
            self._watch()

    def _shown(self) -> None:
        if self._reads:
            self.read()

    def _watch(self) -> None:
        if self._talk.conversation_id is not None:
            self._client.watch(list(self._talk.marks)[:MAX_WATCHED])
