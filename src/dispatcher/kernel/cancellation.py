"""Cancellation that a library keeps to itself.

`asyncio.wait_for` of Python 3.11, which redis calls for every command, drops a cancellation that comes in the moment in
which what it waits for is done. A loop that was told to end goes on then, and whoever waits for its end waits for ever.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeded() -> Iterator[None]:
    """Whatever comes of the block: when its task was cancelled meanwhile, it ends with CancelledError."""
    task = asyncio.current_task()
    assert task is not None
    told = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > told:
            raise asyncio.CancelledError
