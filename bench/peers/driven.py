"""What a driver answers to: lines on its standard input, so that the bench can prepare, start and stop a peer's worker.

| line | does | answers |
|---|---|---|
| `fill N` | empties the peer's tables and enqueues N messages | `filled` |
| `go` | starts the peer's worker | nothing |
| `stop` | stops it in an orderly way | `stopped` |

`ready` is said once, when the peer's tables are there. A driver runs in the peers' own venv: here are only the
standard library and what every driver needs.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

IN_FLIGHT = 64
Body = dict[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """What the bench wants of this process."""

    db_url: str
    webhook_url: str
    in_flight: int
    """Requests at once; the share of this process when a peer has several."""


def task() -> Task:
    """The task from the command line."""
    return Task(sys.argv[1], sys.argv[2], int(sys.argv[3]))


def bodies(count: int) -> list[Body]:
    """What to send: the same for every peer."""
    return [{"to": f"+90555{n:07}", "content": f"Your code is {n}"} for n in range(1, count + 1)]


async def drive(
    fill: Callable[[int], Awaitable[None]], worker: Callable[[], AbstractAsyncContextManager[None]]
) -> None:
    """Obey until the bench closes our standard input; `worker` works for as long as its block lasts."""
    _say("ready")
    async with AsyncExitStack() as working:
        async for line in _lines():
            match line.split():
                case ["fill", count]:
                    await fill(int(count))
                    _say("filled")
                case ["go"]:
                    await working.enter_async_context(worker())
                case ["stop"]:
                    await working.aclose()
                    _say("stopped")


async def _lines() -> AsyncIterator[str]:
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()
