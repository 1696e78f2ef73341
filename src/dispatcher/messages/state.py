"""The states a message can be in, and its priorities."""

from enum import IntEnum, StrEnum


class State(StrEnum):
    """`pending → sending → sent | failed | uncertain`, and `cancelled`."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    CANCELLED = "cancelled"


class Priority(IntEnum):
    """What goes first, as it is stored."""

    HIGH = 0
    NORMAL = 1
    LOW = 2
