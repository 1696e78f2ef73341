"""The agenda: messages held in memory until their time, in the order in which they are due. Pure."""

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from dispatcher.delivery.lane import Terms
from dispatcher.messages.claim import ClaimedMessage


@dataclass(slots=True)
class Held:
    """A claimed message, and the terms it was claimed under."""

    message: ClaimedMessage
    terms: Terms
    place: tuple[datetime, int] = field(init=False)

    def __post_init__(self) -> None:
        self.place = (self.message.deliver_at, self.message.id)


def _place(held: Held) -> tuple[datetime, int]:
    return held.place


_AFTER_ALL_IDS = 2**63


class Agenda:
    """What one replica holds of one lane."""

    def __init__(self) -> None:
        self._held: list[Held] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Iterable[Held]) -> None:
        """Hold these too."""
        for one in held:
            insort(self._held, one, key=_place)

    @property
    def next_at(self) -> datetime | None:
        """When the first of them is due."""
        return self._held[0].message.deliver_at if self._held else None

    def due(self, now: datetime) -> int:
        """How many of them are due."""
        return bisect_right(self._held, (now, _AFTER_ALL_IDS), key=_place)

    def take_due(self, now: datetime, limit: int) -> list[Held]:
        """Take out what is due, the oldest first, at most `limit`."""
        return self._take(min(self.due(now), limit))

    def take_all(self) -> list[Held]:
        """Take out everything."""
        return self._take(len(self._held))

    def _take(self, count: int) -> list[Held]:
        taken = self._held[:count]
        del self._held[:count]
        return taken
