"""Track: how far a client has come in one conversation, and what of what comes in it may pass. Pure.

Messages pass in the order of `seq`, each once, without a gap. When one is missing nothing passes until it was fetched:
what the socket brings meanwhile is only noted, and fetched too. So there is one way to fill a gap, whoever made it.
"""

from collections.abc import Sequence

from dispatcher.client.models import Message, Position

MAX_CHANGES = 256
"""Edits and deletions that wait until the gap in front of their messages is filled."""


class Track:
    """One conversation."""

    __slots__ = ("_changes", "_lost_changes", "change", "id", "known", "seq", "taken")

    def __init__(self, position: Position) -> None:
        """It goes on behind this position."""
        self.seq, self.change, self.id = position.seq, position.change, position.id
        self.known = position.seq
        """The newest message there is, as far as anybody has said."""
        self.taken = position
        """How far the application has come."""
        self._changes: dict[int, tuple[int, Message]] = {}
        self._lost_changes = False

    @property
    def missing(self) -> bool:
        """Whether messages are to be fetched."""
        return self.known > self.seq

    @property
    def position(self) -> Position:
        """How far what has passed has come."""
        return Position(self.seq, self.change, self.id)

    def arrived(self, message: Message) -> bool:
        """The socket has brought a message. Whether it may pass; `passed` then says that it has."""
        follows = not self.missing and message.seq == self.seq + 1
        self.known = max(self.known, message.seq)
        return follows

    def passed(self, message: Message) -> None:
        """This message has passed."""
        self.seq, self.id = message.seq, message.id
        self.known = max(self.known, message.seq)

    def exists(self, seq: int) -> None:
        """There is a message with this number."""
        self.known = max(self.known, seq)

    def gone(self, seq: int) -> None:
        """What is missing up to this one is not there any longer, or not for this user: go on behind it."""
        self.seq, self.id = seq, 0

    def fetched(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Of messages that were fetched, oldest first: those that may pass, one after the other."""
        return [one for one in messages if one.seq > self.seq]

    def changed(self, message: Message, change: int) -> bool:
        """The socket has brought an edit or a deletion. Whether it may pass; it has then."""
        if change <= self.change:
            return False
        self.change = change
        self.known = max(self.known, message.seq)
        if not self.missing and not self._changes:  # behind those that wait it waits too
            return True
        if message.seq in self._changes or len(self._changes) < MAX_CHANGES:
            self._changes[message.seq] = change, message
        else:
            self._lost_changes = True
        return False

    def skipped(self, change: int) -> None:
        """Changes up to this one will not be told."""
        if change > self.change:
            self.change = change
            self._lost_changes = True

    def held(self) -> tuple[Sequence[tuple[int, Message]], bool]:
        """Nothing is missing any longer: changes that have waited, in order; and whether others were left out."""
        changes, lost = sorted(self._changes.values(), key=lambda one: one[0]), self._lost_changes
        self._changes, self._lost_changes = {}, False
        return changes, lost
