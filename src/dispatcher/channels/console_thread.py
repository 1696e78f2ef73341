"""Writes that may block, one at a time, on a thread that does not hold up the end of the process."""

import asyncio
import errno
import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

Written = bytes | memoryview
_Asked = tuple[Written, asyncio.AbstractEventLoop, asyncio.Future[int]]


class WriteThread:
    """Writes to one descriptor, which stays the caller's. Begins with the first write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread: Thread | None = None

    def write(self, written: Written) -> asyncio.Future[int]:
        """One write; how many bytes it took, 0 where there is no room, or an OSError. It cannot be taken back."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        try:
            self._start()
        except RuntimeError:  # no thread can be had at the moment
            loop.call_soon(_end, done, 0, OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        else:
            self._asked.put((written, loop, done))
        return done

    def close(self) -> None:
        """End the thread once it has nothing to do."""
        self._asked.put(None)

    def _start(self) -> None:
        if self._thread is None:
            # concurrent.futures' threads are waited for at exit; one that hangs in a write would hold it up for ever
            thread = Thread(target=self._run, name="console", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            written, loop, done = asked
            taken, failure = 0, None
            try:
                taken = os.write(self._descriptor, written)
            except BlockingIOError:  # somebody who shares it has set O_NONBLOCK
                taken = 0
            except OSError as error:
                failure = error
            with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_end, done, taken, failure)


def _end(done: asyncio.Future[int], taken: int, failure: OSError | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(taken)
    else:
        done.set_exception(failure)
        done.exception()  # seen, also where nobody waits any more
