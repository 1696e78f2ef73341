"""What has happened in a conversation, once it is committed: what the other clients are to be told.

The real-time part gets each of these from whoever did it. They may be lost (a crash between commit and telling), so
nothing may depend on them but speed: Postgres knows all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dispatcher.chat.message import ChatMessage


@dataclass(frozen=True, slots=True)
class Sent:
    """A new chat message. Told in the order of `seq`, by the replica that wrote it."""

    message: ChatMessage


@dataclass(frozen=True, slots=True)
class Changed:
    """A chat message was edited or deleted; `message.change` is the number of that."""

    message: ChatMessage


@dataclass(frozen=True, slots=True)
class Marked:
    """A member has received or read further. Both watermarks, as they are now."""

    conversation_id: int
    user_id: str
    delivered_seq: int
    read_seq: int


@dataclass(frozen=True, slots=True)
class Rearranged:
    """Something of the conversation itself is different: name, members, roles, or whether it is open."""

    conversation_id: int
    what: Literal["opened", "renamed", "joined", "left", "role", "closed"]
    user_ids: Sequence[str] = ()
    """Whom it is about. Those who left are no longer among its members, and want to hear of it too."""


Happening: TypeAlias = Sent | Changed | Marked | Rearranged
Tell: TypeAlias = Callable[[Happening], None]
"""Called on the event loop after the commit; must not block, wait or raise."""


def nobody(_: Happening) -> None:
    """Tells nobody."""
