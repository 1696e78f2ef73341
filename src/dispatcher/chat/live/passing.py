"""What is told and never stored: somebody is typing, somebody has come or gone."""

from dataclasses import dataclass

TYPING_SECONDS = 10
"""How long clients show that somebody is typing."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A member is writing."""

    conversation_id: int
    user_id: str


@dataclass(frozen=True, slots=True)
class Came:
    """A user has a socket now, or has none any longer."""

    user_id: str
    online: bool
