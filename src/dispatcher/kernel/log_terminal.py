"""Standard error as a place for log lines that nobody waits for: its reader may be slow, stopped or gone.

A line goes out at once where there is room, and through a queue and a thread where there is none: `… 2>&1 | less` must
not stop the service until somebody presses a key.
"""

import atexit
import os
import select
import stat
from collections import deque
from contextlib import suppress
from io import UnsupportedOperation
from threading import Condition, Thread
from time import sleep
from typing import TextIO

from dispatcher.kernel.opened_again import is_pipe_or_terminal, opened_again

QUEUE_LINES = 10_000
NO_SPIN_SECONDS = 0.01
"""A terminal may have room for a byte, which a poll calls writable, and none for what is to be written."""
END_SECONDS = 1.0
"""How long the end of the process waits for what is queued."""


class TerminalLines:
    """Writes lines to a stream. Never blocks for longer than a file takes, and never raises."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._at_once = None if self._descriptor is None else _never_blocks(self._descriptor)
        self._queued: deque[memoryview] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._left_out = 0

    def write(self, line: str) -> int:
        """Write it, now or soon. How many lines had to be left out before it, once there is room again."""
        rest = memoryview(f"{line}\n".encode("utf-8", "backslashreplace"))
        left_out = 0
        with self._changed:
            if not self._queued:
                left_out, self._left_out = self._left_out, 0
                rest = self._write_at_once(rest)
            if not rest:
                return left_out
            if len(self._queued) == QUEUE_LINES:
                self._left_out += 1
                return 0
            self._queued.append(rest)
            self._changed.notify_all()
            if self._thread is None:
                with suppress(RuntimeError):  # no thread can be had at the moment: the next line tries again
                    thread = Thread(target=self._write_queued, name="standard error", daemon=True)
                    thread.start()
                    self._thread = thread
                    atexit.register(self._end)
        return left_out

    def _write_at_once(self, written: memoryview) -> memoryview:
        """What is left of it: all of it where a write might block."""
        try:
            if self._descriptor is None:
                self._stream.write(written.tobytes().decode())
                self._stream.flush()
            elif self._at_once is None:
                return written
            else:
                return written[os.write(self._at_once, written) :]
        except BlockingIOError:
            return written
        except (OSError, ValueError):  # closed, or its reader is gone: no reason to end what a line is about
            pass
        return written[:0]

    def _write(self, rest: memoryview) -> None:
        assert self._descriptor is not None
        with suppress(OSError):
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # somebody who shares it has set O_NONBLOCK
                    _wait_for_room(self._descriptor)

    def _write_queued(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queued))
                rest = self._queued[0]
            self._write(rest)
            with self._changed:  # only now: what comes meanwhile must not overtake it
                self._queued.popleft()
                self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._queued, timeout=END_SECONDS)


def _descriptor(stream: TextIO) -> int | None:
    try:
        descriptor = stream.fileno()
        os.fstat(descriptor)
    except (OSError, ValueError, AttributeError, UnsupportedOperation):
        return None
    return descriptor


def _wait_for_room(descriptor: int) -> None:
    sleep(NO_SPIN_SECONDS)
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def _never_blocks(descriptor: int) -> int | None:
    """Where to write without waiting for a reader; None if a thread has to."""
    if is_pipe_or_terminal(
        descriptor
    ):  # a poll is no help: to it a terminal with room for one byte is writable
        return opened_again(descriptor)
    return None if stat.S_ISSOCK(os.fstat(descriptor).st_mode) else descriptor
