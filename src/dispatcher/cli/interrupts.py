"""What SIGINT and SIGTERM do to a command that runs until it is told to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Interrupts:
    """What SIGINT and SIGTERM do: cancel the start-up; once there is a server, stop that; the second time, give up."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._stop: Callable[[], None] | None = None
        self._ready = False
        self.start_given_up = False
        """True when a signal ended the start-up: an orderly end, with nothing begun."""

    def now_stop(self, stop: Callable[[], None]) -> None:
        """From now on the first signal calls this."""
        self._stop, self._ready = stop, True

    def __call__(self) -> None:
        """A signal arrived."""
        if self._stop is not None:
            stop, self._stop = self._stop, None
            stop()
        elif self._task is not None:
            self.start_given_up = not self._ready
            self._task.cancel()


@asynccontextmanager
async def interrupts() -> AsyncIterator[Interrupts]:
    """Handle SIGINT and SIGTERM during the block; a start-up that one of them ends leaves it without an error."""
    handler, loop = Interrupts(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handler)
    try:
        yield handler
    except asyncio.CancelledError:
        if not handler.start_given_up:
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
