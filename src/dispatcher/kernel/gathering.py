"""Group commit without a timer: what comes while a batch is being written is written as the next batch.

A lone piece is written at once; many at a time fill batches by themselves. Nobody is answered before the commit.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import TROUBLE
from dispatcher.kernel.deadline import within
from dispatcher.kernel.errors import UnavailableError

S = TypeVar("S")
O = TypeVar("O")  # noqa: E741 - what comes of an S

BATCH = 500
BACKLOG = 8 * BATCH
"""Pieces that may wait; beyond it they are turned away, so that a slow Postgres fills no memory."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[S, O]):
    piece: S
    outcome: "asyncio.Future[O | UnavailableError]"
    since: float


class Gathering(Generic[S, O]):
    """What waits to be written, and the loop that writes it."""

    def __init__(
        self,
        write: Callable[[Sequence[S]], Coroutine[Any, Any, Sequence[O]]],
        *,
        key: Callable[[S], Hashable | None],
        seconds: float,
        overloaded: str,
        unknown: str,
        failed: Callable[[Exception, int], None],
    ) -> None:
        """`seconds` is how long a piece waits for its outcome at most; the texts are what its caller is told.

        Args:
            write: Writes a batch in one transaction: an outcome for each piece.
            key: Two pieces of one key never go into one batch; None goes with everything.
            seconds: See above.
            overloaded: For those who are turned away.
            unknown: For those whose batch Postgres did not answer.
            failed: Called with the error, and with how many those are.
        """
        self._write, self._key, self._seconds, self._failed = write, key, seconds, failed
        self._overloaded, self._unknown = overloaded, unknown
        self._waiting: list[_Waiting[S, O]] = []
        self._filled = asyncio.Event()

    async def add(self, piece: S) -> O | UnavailableError:
        """What came of it, after the commit.

        Raises:
            UnavailableError: Too much waits already.
        """
        if len(self._waiting) >= BACKLOG:
            raise UnavailableError(self._overloaded)
        waiting = _Waiting[S, O](piece, asyncio.get_running_loop().create_future(), elapsed())
        self._waiting.append(waiting)
        self._filled.set()
        return await waiting.outcome

    async def run(self) -> None:
        """Write batches forever."""
        while True:
            await self._filled.wait()
            batch = self._take()
            if not self._waiting:
                self._filled.clear()
            if batch:
                await self._flush(batch)

    def _take(self) -> "list[_Waiting[S, O]]":
        """The next batch, in which no key is twice: a repeat comes after the one it repeats.

        What nobody waits for any more is left out: they were told to send it again.
        """
        batch: list[_Waiting[S, O]] = []
        later: list[_Waiting[S, O]] = []
        keys: set[Hashable] = set()
        for number, waiting in enumerate(self._waiting):
            if len(batch) == BATCH:
                later += self._waiting[number:]
                break
            if not waiting.outcome.done() and elapsed() - waiting.since >= self._seconds:
                waiting.outcome.set_result(UnavailableError(self._overloaded))
            if waiting.outcome.done():
                continue
            key = self._key(waiting.piece)
            if key is None or key not in keys:
                batch.append(waiting)
                if key is not None:
                    keys.add(key)
            else:
                later.append(waiting)
        self._waiting = later
        return batch

    async def _flush(self, batch: "Sequence[_Waiting[S, O]]") -> None:
        outcomes: Sequence[O | UnavailableError] = [UnavailableError(self._unknown) for _ in batch]
        left = self._seconds - (elapsed() - batch[0].since)
        try:
            outcomes = await within(max(left, 0), self._write([waiting.piece for waiting in batch]))
        except TROUBLE as error:
            self._failed(error, len(batch))
        finally:
            # whatever happened, nobody waits for ever
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if not waiting.outcome.done():
                    waiting.outcome.set_result(outcome)
