"""Stream: one conversation as this replica passes it on. Pure; nothing of it matters beyond the replica's life.

Messages leave a stream in the order of `seq`, each once, without a hole: what comes too early waits for what is missing
in front of it. Changes leave in the order of `change`; of two changes of one message the first may be left out.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from dispatcher.chat.message import ChatMessage

Pair: TypeAlias = tuple[str, str]
MAX_EARLY = 256
"""Messages that wait for those in front of them; the rest is fetched when they have come."""
MAX_AUTHORS = 256
"""Messages of a group whose senders hear of receipts."""
NO_MARKS = (0, 0)


class Stream:
    """Where a conversation is here, and who of this replica's users follows it."""

    __slots__ = (
        "_authors", "_early", "_early_changes", "change", "change_known", "conversation_id", "followers",
        "known", "marks", "pair", "seq",
    )  # fmt: skip

    def __init__(self, conversation_id: int, pair: Pair | None, seq: int, change: int) -> None:
        """`pair` are the two users; None in a group. It goes on behind `seq` and `change`."""
        self.conversation_id, self.pair = conversation_id, pair
        self.seq, self.change = seq, change
        self.known, self.change_known = seq, change
        """The newest there are, as far as anybody has said."""
        self.followers: dict[str, int] = {}
        """Users of this replica; each follows what is behind the seq at which they joined."""
        self.marks: dict[str, tuple[int, int]] = {}
        """How far members have received and read: of two users always, of a group's as far as they were told."""
        self._early: dict[int, ChatMessage] | None = None
        self._early_changes: dict[int, ChatMessage] | None = None
        self._authors: deque[tuple[int, str]] | None = None

    @property
    def missing(self) -> bool:
        """Whether messages are known of that have not come."""
        return self.known > self.seq

    @property
    def missing_changes(self) -> bool:
        """Whether changes are known of that have not come."""
        return self.change_known > self.change

    def arrived(self, message: ChatMessage) -> Iterator[ChatMessage]:
        """A message has come; yields what may leave now. Each is passed on before the next is asked for."""
        if message.seq <= self.seq:
            return
        self.known = max(self.known, message.seq)
        if message.seq > self.seq + 1:
            if self._early is None:
                self._early = {}
            if len(self._early) < MAX_EARLY:
                self._early[message.seq] = message
            return
        leaving: ChatMessage | None = message
        while leaving is not None:
            yield self._passed(leaving)
            leaving = self._early.pop(self.seq + 1, None) if self._early else None
        self._forget_early()

    def changed(self, message: ChatMessage) -> Iterator[ChatMessage]:
        """A change has come; yields those that may leave now."""
        assert message.change is not None
        if message.change <= self.change:
            return
        self.change_known = max(self.change_known, message.change)
        if message.seq > self.seq:  # nobody has the message itself yet: both are fetched, as they are then
            self.known = max(self.known, message.seq)
            return
        if self._early_changes is None:
            self._early_changes = {}
        if len(self._early_changes) < MAX_EARLY:
            self._early_changes[message.change] = message
        yield from self._changes_in_turn()

    def fetched_changes(self, messages: Iterable[ChatMessage], *, up_to: int) -> Iterator[ChatMessage]:
        """All changes up to this one, as they are now; their numbers may have gaps. Yields those that may leave now."""
        for message in messages:
            assert message.change is not None
            if message.change > self.change:
                self.change = message.change
                yield message
        self.change = max(self.change, up_to)
        self.change_known = max(self.change_known, self.change)
        yield from self._changes_in_turn()

    def jump(self, seq: int) -> None:
        """Leave out what is in front of `seq`: it is more than is pushed, and clients are told."""
        self.seq = max(self.seq, seq)
        self.known = max(self.known, self.seq)
        self._forget_early()

    def marked(self, user_id: str, marks: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """How far a member is. Where they were and where they are now; None when they were that far already."""
        old = self.marks.get(user_id, NO_MARKS)
        new = max(old[0], marks[0]), max(old[1], marks[1])
        if new == old:
            return None
        self.marks[user_id] = new
        return old, new

    def authors(self, old: tuple[int, int], new: tuple[int, int]) -> set[str]:
        """Whose messages lie between two marks, of those that have passed here lately."""
        return {who for seq, who in self._authors or () if old[0] < seq <= new[0] or old[1] < seq <= new[1]}

    def _passed(self, message: ChatMessage) -> ChatMessage:
        self.seq = message.seq
        if self.pair is None:
            if self._authors is None:
                self._authors = deque(maxlen=MAX_AUTHORS)
            self._authors.append((message.seq, message.sender_id))
        else:  # who was up to date when they wrote still is: the rule of send.py
            delivered, read = self.marks.get(message.sender_id, NO_MARKS)
            if delivered == message.seq - 1:
                self.marks[message.sender_id] = message.seq, message.seq if read == delivered else read
        return message

    def _forget_early(self) -> None:
        if self._early is not None:
            self._early = {seq: one for seq, one in self._early.items() if seq > self.seq} or None

    def _changes_in_turn(self) -> Iterator[ChatMessage]:
        early = self._early_changes
        while early and (message := early.pop(self.change + 1, None)) is not None:
            self.change += 1
            yield message
        if early is not None:
            self._early_changes = {
                number: one for number, one in early.items() if number > self.change
            } or None
