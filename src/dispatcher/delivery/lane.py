"""A lane, as the engine knows it: a name, a channel, and the terms that live config sets for it."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from dispatcher.channels.contract import Channel
from dispatcher.delivery.pace import Pace
from dispatcher.live_config.model import LEASE_MARGIN_SECONDS, LiveConfig

SETTLE_SECONDS = LEASE_MARGIN_SECONDS / 2
"""An attempt begins only if its deadline leaves this much of the lease for settling its result."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything that live config says about a lane, at one revision."""

    pace: Pace
    target: Hashable
    """Where messages go. A change of it opens a new channel."""
    concurrency: int
    """Attempts at the same time, per replica."""
    attempt_seconds: float
    """One attempt's deadline, for everything."""
    lease_seconds: float
    max_attempts: int
    backoff_base: float
    backoff_cap: float
    retry_after_cap: float
    """The most seconds that a receiver's wish to be left alone is heeded."""
    breaker_failures: int
    """Failures of the target in a row, met by one replica, that pause the lane; 0 never does."""
    hold_uncertain: bool
    """Hold a message that the receiver may have for a person, instead of sending it again."""
    batch_size: int = 1
    """Messages that go out in one go, where the channel takes many."""
    keeps_time: bool = False
    """A message of which an attempt failed stays due when it was; it is the channel that gets a rest."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A named stream of messages with one channel and one pace."""

    name: str
    terms: Callable[[LiveConfig], Terms]


class ChannelPool:
    """The lane's channel for the current target; those of earlier targets are closed when nobody uses them."""

    def __init__(self, open_channel: Callable[[LiveConfig], Channel]) -> None:
        self._open_channel = open_channel
        self._current: BorrowedChannel | None = None
        self._retired: list[BorrowedChannel] = []

    def borrow(self, config: LiveConfig, terms: Terms) -> "BorrowedChannel":
        """The channel for these terms. Give it back with `give_back`."""
        key = (terms.target, terms.concurrency)
        if self._current is None or self._current.key != key:
            if self._current is not None:
                self._retired.append(self._current)
            self._current = BorrowedChannel(self._open_channel(config), key)
        self._current.users += 1
        return self._current

    async def give_back(self, borrowed: "BorrowedChannel") -> None:
        """Take it back, and close the earlier channels that have no user left."""
        borrowed.users -= 1
        if self._retired:
            unused = [retired for retired in self._retired if retired.users == 0]
            self._retired = [retired for retired in self._retired if retired.users > 0]
            for retired in unused:
                await retired.channel.close()

    async def close(self) -> None:
        """Close every channel; nobody uses them any more."""
        current, self._current = self._current, None
        left, self._retired = self._retired, []
        for borrowed in (*left, *([current] if current else [])):
            await borrowed.channel.close()


@dataclass(slots=True)
class BorrowedChannel:
    """A channel with the number of those who use it."""

    channel: Channel
    key: Hashable
    users: int = 0
