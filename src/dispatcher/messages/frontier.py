"""The frontier: where in the order of what is due the next claim begins to search. Pure.

A claimed row leaves a dead entry at the head of the index, and while any snapshot in the database is older, vacuum
cannot remove it. A claim that began at the head would walk over all of them, a longer way with every message sent.
So a claimer searches beyond what it claimed last, and returns to the head now and then for what came in behind:
a row inserted late or with an earlier `deliver_at`, or one that another claim had locked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dispatcher.messages.state import Priority

Position = tuple[datetime, int]
"""A place in the order of what is due: `deliver_at` and `id`."""

HEAD: Position = (datetime.min.replace(tzinfo=UTC), 0)
FULL_SHARE = 0.05
"""The part of a claimer's time that searches from the head may take: no wait while they are quick, as they are when
vacuum keeps up, and no more than this when they are not."""

LONGEST_WAIT_SECONDS = 60.0
"""However long a search took: it may have waited for something else."""

TURNS = (
    *((Priority.HIGH, Priority.NORMAL, Priority.LOW),) * 4,
    (Priority.NORMAL, Priority.HIGH, Priority.LOW),
) * 3 + ((Priority.LOW, Priority.HIGH, Priority.NORMAL),)
"""Which priority a claim serves first, in turn: of sixteen, twelve begin with high, three with normal, one with low.
The others get what it leaves. So high goes first, and neither normal nor low ever waits for ever."""


@dataclass(frozen=True, slots=True)
class Search:
    """One claim's search: the priorities in the order they are served, and where each begins."""

    order: tuple[Priority, ...]
    beyond: tuple[Position, ...]
    from_head: bool


@dataclass(slots=True)
class Frontier:
    """What one claimer knows of one lane. Losing it costs one search from the head."""

    longest_wait_seconds: float = LONGEST_WAIT_SECONDS
    """The most that searches from the head are apart."""
    _beyond: dict[int, Position] = field(default_factory=dict)
    _turn: int = 0
    _head_again_at: float = 0.0

    def search(self, now: float) -> Search:
        """The next search, at a moment of `kernel.clock.elapsed`."""
        order = TURNS[self._turn % len(TURNS)]
        self._turn += 1
        from_head = now >= self._head_again_at
        if from_head:
            self._beyond.clear()
        return Search(order, tuple(self._beyond.get(priority, HEAD) for priority in order), from_head)

    def arrived(self, at: datetime) -> None:
        """Something may have come in that is due at this time: search from there, if the next search begins later."""
        place = (at, 0)
        for priority, beyond in self._beyond.items():
            self._beyond[priority] = min(beyond, place)

    def searched(
        self, search: Search, reached: Mapping[int, Position], *, now: float, seconds: float
    ) -> None:
        """It took this long, and the last message of each priority that was claimed stood here."""
        self._beyond.update(reached)
        if search.from_head:
            self._head_again_at = now + min(seconds * (1 / FULL_SHARE - 1), self.longest_wait_seconds)
