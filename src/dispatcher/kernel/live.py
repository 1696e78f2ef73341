"""A value that changes while the process runs: readers take the whole current snapshot, or wait for the next."""

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where a snapshot comes from, in order: a later one wins."""

    epoch: int
    """How often etcd has begun anew: revisions count from 1 again when it loses its data or is replaced."""
    revision: int
    """etcd's revision."""


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[T]):
    """The live value at one revision. Immutable: hold it for as long as one piece of work takes."""

    value: T
    origin: Origin | None
    """None before any etcd has ever been seen."""


class Live(Generic[T]):
    """The current snapshot, and signals for those who wait for the next one."""

    def __init__(self, snapshot: Snapshot[T]) -> None:
        self._snapshot = snapshot
        self._signals: list[asyncio.Event] = []

    @property
    def snapshot(self) -> Snapshot[T]:
        """The whole current value with its origin."""
        return self._snapshot

    @property
    def value(self) -> T:
        """The current value alone."""
        return self._snapshot.value

    def publish(self, snapshot: Snapshot[T]) -> None:
        """Replace the snapshot and set every signal."""
        self._snapshot = snapshot
        for signal in self._signals:
            signal.set()

    def signal(self, event: asyncio.Event) -> None:
        """Set this event at every change; the waiter clears it."""
        self._signals.append(event)
