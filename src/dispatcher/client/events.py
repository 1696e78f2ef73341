"""What `ChatClient.events` yields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dispatcher.client.models import Conversation, Message


@dataclass(frozen=True, slots=True)
class Connected:
    """The client is connected, for the first time or once more. What was missed in between follows."""

    user_id: str
    conversations: Sequence[Conversation]
    """The latest active ones, at most 200, as they stand; `api.conversations` has them all."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone; the client connects again by itself."""

    reason: str
    seconds: float
    """Until it tries."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The next message of its conversation, one's own included: each once, in order, without a gap."""

    message: Message


@dataclass(frozen=True, slots=True)
class Changed:
    """A message that arrived before was edited or deleted; this is what it is now."""

    message: Message
    change: int


@dataclass(frozen=True, slots=True)
class Outdated:
    """More was edited or deleted, while the client was away, than is told: what the application keeps may be old."""

    conversation_id: int


@dataclass(frozen=True, slots=True)
class Receipts:
    """How far members have received and read; the latest word counts."""

    conversation_id: int
    marks: Mapping[str, tuple[int, int]]
    """By user: the last `seq` received, the last one read."""


@dataclass(frozen=True, slots=True)
class Rearranged:
    """A conversation was opened, renamed or closed, or somebody came in or went out."""

    conversation_id: int
    what: str
    user_ids: Sequence[str]
    conversation: Conversation | None
    """For those who have just come in."""


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody is writing; good for ten seconds."""

    conversation_id: int
    user_id: str


@dataclass(frozen=True, slots=True)
class Presence:
    """Who of the users that are watched is there."""

    online: Mapping[str, bool]


Event: TypeAlias = (
    Connected | Disconnected | Arrived | Changed | Outdated | Receipts | Rearranged | Typing | Presence
)
