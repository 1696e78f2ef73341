"""Talk: one conversation as the terminal shows it. Pure; whoever draws it reads it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.client import Message

MAX_SHOWN = 2000
"""Messages that are kept; older ones are fetched when somebody wants them."""
TYPING_SECONDS = 10.0
SENT, DELIVERED, READ = 0, 1, 2
TICKS: Final = ("✓", "✓✓", "✓✓ read")
"""Of SENT, DELIVERED, READ."""
_STATUS: Final = {None: SENT, "sent": SENT, "delivered": DELIVERED, "read": READ}


@dataclass(slots=True)
class Unsent:
    """What the user wrote and the service has not got yet."""

    client_id: str
    content: str
    problem: str | None = None
    """Why the service does not want it."""


class Talk:
    """What was said, how far everybody has come, who is there."""

    def __init__(self, me: str, to: str | int, *, others: Iterable[str]) -> None:
        """With a user, or in the group with this id."""
        self.me, self.to = me, to
        self.conversation_id = None if isinstance(to, str) else to
        """None until two have begun to talk."""
        self.marks: dict[str, tuple[int, int]] = dict.fromkeys(others, (0, 0))
        """How far each of the others has received and read."""
        self.online: dict[str, bool] = {}
        self.unsent: dict[str, Unsent] = {}
        self._typing: dict[str, float] = {}
        self._messages: dict[int, Message] = {}

    @property
    def messages(self) -> Sequence[Message]:
        """Those that are shown, oldest first."""
        return list(self._messages.values())

    @property
    def oldest(self) -> int | None:
        """The id of the oldest of them."""
        return next((one.id for one in self._messages.values()), None)

    @property
    def last_seq(self) -> int:
        """The number of the newest of them."""
        return next(reversed(self._messages), 0)

    def arrived(self, message: Message) -> bool:
        """A message has come. False when it is there already."""
        self.unsent.pop(message.client_id or "", None)
        self._typing.pop(message.sender_id, None)
        if message.seq <= self.last_seq:
            return False
        self._messages[message.seq] = message
        if len(self._messages) > MAX_SHOWN:
            del self._messages[next(iter(self._messages))]
        return True

    def changed(self, message: Message) -> bool:
        """A message was edited or deleted. False when it is not shown."""
        if message.seq not in self._messages:
            return False
        self._messages[message.seq] = message
        return True

    def older(self, messages: Sequence[Message]) -> None:
        """Messages from before those that are shown, oldest first."""
        together = {one.seq: one for one in messages} | self._messages
        self._messages = dict(list(together.items())[-MAX_SHOWN:])

    def received(self, marks: Mapping[str, tuple[int, int]]) -> None:
        """How far members are."""
        for who, (delivered, read) in marks.items():
            if who != self.me:
                old = self.marks.get(who, (0, 0))
                self.marks[who] = max(old[0], delivered), max(old[1], read)

    def typed(self, who: str, now: float) -> None:
        """Somebody is writing, at this moment of a clock in seconds."""
        if who != self.me:
            self._typing[who] = now + TYPING_SECONDS

    def typing(self, now: float) -> Sequence[str]:
        """Who is writing."""
        return [who for who, until in self._typing.items() if until > now]

    def status(self, message: Message) -> int:
        """How far one of the user's own messages is: 0 with the service, 1 with all the others, 2 read by all of them."""
        by_marks = SENT
        if self.marks and min(one[0] for one in self.marks.values()) >= message.seq:
            by_marks = DELIVERED
        if self.marks and min(one[1] for one in self.marks.values()) >= message.seq:
            by_marks = READ
        return max(_STATUS[message.status], by_marks)

    def newest(self, status: int) -> Message | None:
        """The newest of the user's own messages that is that far."""
        own = (one for one in reversed(self._messages.values()) if one.sender_id == self.me)
        return next((one for one in own if self.status(one) >= status), None)
