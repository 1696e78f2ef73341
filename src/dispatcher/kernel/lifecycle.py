"""Loops that must not die: started in order, stopped in reverse, restarted when a bug ends one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from dispatcher.kernel.backoff import delay
from dispatcher.kernel.clock import elapsed, pause

log = structlog.get_logger()

STEADY_SECONDS = 60.0
"""A loop that ran this long before it broke starts its backoff anew."""


async def supervise(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run it until it returns; when it raises, log the traceback and run it again, with growing pauses.

    Loops handle the failures they expect themselves. What arrives here is a bug, and one bug must not end
    delivery until somebody happens to restart the process.
    """
    failures = 0
    while True:
        began = elapsed()
        try:
            return await run()
        except Exception:
            failures = 1 if elapsed() - began > STEADY_SECONDS else failures + 1
            wait = delay(failures, base=0.5, cap=30.0)
            log.exception("loop_failed", loop=name, restart_in=round(wait, 1))
        await pause(wait)


@asynccontextmanager
async def background(name: str, run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """A supervised loop for as long as the block runs; cancelled and awaited at its end."""
    task = asyncio.create_task(supervise(name, run), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def draining(
    name: str, run: Callable[[], Awaitable[None]], stop: Callable[[], None], *, seconds: float
) -> AsyncIterator[None]:
    """Like `background`, but at the end the loop is asked to stop and has `seconds` to finish what it is doing."""
    task = asyncio.create_task(supervise(name, run), name=name)
    try:
        yield
    finally:
        stop()
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
            if not done:
                log.warning("loop_cancelled", loop=name, after_seconds=seconds)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
