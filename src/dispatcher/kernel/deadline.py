"""A deadline for whoever waits, also when the work itself cannot end yet."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_abandoned: set[asyncio.Task[Any]] = set()  # the event loop alone would let them be collected while they run


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns. After `seconds` it is cancelled and left to end by itself.

    `asyncio.timeout` would wait for its end: asyncpg ends a cancelled statement when Postgres has confirmed it,
    and a frozen Postgres confirms nothing for as long as the statement itself may take.

    Raises:
        TimeoutError: The work has not ended in time; what it did by then is unknown.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            _abandon(task)
    if task in _abandoned:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return task.result()


def _abandon(task: asyncio.Task[Any]) -> None:
    _abandoned.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # read, so that asyncio does not report it: whom it concerned has been answered
