"""What is promised of messages under leases, as plain data: which claim takes what, and who may change what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from dispatcher.messages.frontier import HEAD, TURNS, Position
from dispatcher.messages.state import State


@dataclass(slots=True)
class Kept:
    """A message, as far as the promises speak of it."""

    id: int
    lane: str
    priority: int
    deliver_at: datetime
    due: bool
    state: State = State.PENDING
    attempt_count: int = 0
    lease_id: UUID | None = None
    expired: bool = False
    locked: bool = False
    """Another transaction holds a lock on its row."""

    @property
    def position(self) -> Position:
        return self.deliver_at, self.id

    @property
    def stored(self) -> tuple[str, int, datetime, int, UUID | None]:
        """The columns by which Postgres's row is compared."""
        return self.state.value, self.priority, self.deliver_at, self.attempt_count, self.lease_id


@dataclass(slots=True)
class Claimer:
    """What one claimer of a lane has done, and so where its next search may begin."""

    lane: str
    claims: int = 0
    reached: dict[int, Position] = field(default_factory=dict)


@dataclass(slots=True)
class LeaseModel:
    """All messages, by id, and the attempts recorded for each: number and outcome."""

    messages: dict[int, Kept] = field(default_factory=dict)
    attempts: list[tuple[int, int, str]] = field(default_factory=list)
    running: bool = True

    def of(self, state: State) -> list[Kept]:
        return [kept for kept in self.messages.values() if kept.state is state]

    def due(self, lane: str) -> list[Kept]:
        """What a claim of this lane may take, the oldest first."""
        return sorted(
            (k for k in self.of(State.PENDING) if k.lane == lane and k.due and not k.locked),
            key=lambda kept: kept.position,
        )

    def claim(self, claimer: Claimer, *, limit: int, from_head: bool) -> list[Kept]:
        """What this claim has to take, in its order; the caller says under which lease with `leased`."""
        order = TURNS[claimer.claims % len(TURNS)]
        claimer.claims += 1
        if from_head:
            claimer.reached.clear()
        taken: list[Kept] = []
        for priority in order if self.running else ():
            beyond = claimer.reached.get(priority, HEAD)
            found = [k for k in self.due(claimer.lane) if k.priority == priority and k.position > beyond]
            taken += found[: limit - len(taken)]
        claimer.reached |= {kept.priority: kept.position for kept in taken}
        return taken

    def leased(self, taken: Iterable[Kept], lease_id: UUID) -> None:
        for kept in taken:
            kept.state, kept.lease_id, kept.expired = State.SENDING, lease_id, False
            kept.attempt_count += 1

    def held_under(self, message_id: int, lease_id: UUID) -> Kept | None:
        """The message, if this lease still gives a right to it."""
        kept = self.messages.get(message_id)
        return kept if kept is not None and kept.lease_id == lease_id else None

    def ended(self, kept: Kept, state: State, outcome: str) -> None:
        """An attempt came to this end, and is recorded."""
        self.attempts.append((kept.id, kept.attempt_count, outcome))
        kept.state, kept.lease_id = state, None

    def released(self, kept: Kept) -> None:
        kept.state, kept.lease_id = State.PENDING, None
        kept.attempt_count -= 1

    def forget(self, ids: Iterable[int], attempts: Sequence[tuple[int, int, str]] = ()) -> None:
        """Retention has removed them."""
        for message_id in ids:
            del self.messages[message_id]
        for attempt in attempts:
            self.attempts.remove(attempt)

    def stored(self) -> Mapping[int, tuple[str, int, datetime, int, UUID | None]]:
        """What Postgres must hold, and nothing else."""
        return {message_id: kept.stored for message_id, kept in self.messages.items()}
