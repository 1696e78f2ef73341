"""The channel contract: a channel gets an envelope and answers an outcome, a value, never an exception.

What is made for every message is not frozen: that would cost a microsecond and more each, to no reader's gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

LATE = timedelta(seconds=1)
"""From so long after its time on a message is late; less is what a busy moment costs."""


@dataclass(slots=True)
class Envelope:
    """One message as a channel sees it: no row, no lease, no lane."""

    message_id: int
    recipient: str
    content: str
    attempt: int
    """Number of this attempt, from 1."""
    correlation_id: str
    due_at: datetime | None = None
    """When it was to be delivered, where its lane delivers each message at its time."""


@dataclass(slots=True)
class Delivered:
    """The receiver took the message."""

    at: float
    """When the receiver's answer arrived: wall clock, in seconds since 1970."""
    status: int | None = None
    """The receiver's status code, where the channel has one."""
    receipt_id: str | None = None
    """The receiver's own id for the message (`messageId` in a webhook's JSON answer)."""
    excerpt: str | None = None
    """The beginning of the answer, for people."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not delivered as far as anyone knows, and worth another attempt later."""

    error: str
    status: int | None = None
    excerpt: str | None = None
    maybe_delivered: bool = False
    """The message was on its way and no answer came: the receiver may have it."""
    retry_after: float | None = None
    """How many seconds the receiver asks to be left alone, if it does."""
    target_failed: bool = False
    """Nobody answered, or only to say that the receiver itself is broken: other messages would fare no better."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not delivered, and another attempt would end the same way."""

    error: str
    status: int | None = None
    excerpt: str | None = None


Outcome = Delivered | Retry | Rejected


class Channel(Protocol):
    """A way to deliver messages."""

    async def deliver(self, envelope: Envelope, *, seconds: float) -> Outcome:
        """Try once to deliver, within `seconds` for everything: connecting, sending and reading the answer.

        Never raises for what a receiver or a network does; a cancellation passes through.
        """
        ...

    async def close(self) -> None:
        """Give up connections. No `deliver` is under way when this is called."""
        ...


class BatchChannel(Protocol):
    """A way to deliver messages that takes many of them in one go."""

    @property
    def problem(self) -> str | None:
        """Why it takes nothing at the moment, for people; None when it does. Cheap: it is asked many times a second."""
        ...

    async def deliver_batch(self, envelopes: Sequence[Envelope], *, until: float) -> Sequence[Outcome | None]:
        """Try once to deliver these, in this order; begin nothing after `until`, of `kernel.clock.elapsed`.

        An outcome for each; None for one of which nothing has left yet: that was no attempt. Batches that are given
        while an earlier one is under way are delivered after it. Never raises for what the other side does.
        """
        ...

    def give_up(self) -> None:
        """Let the batches under way, and any that come, end as at their deadline; what can go out at once still may."""
        ...
