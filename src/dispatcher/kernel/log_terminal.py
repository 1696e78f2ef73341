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
from typing import TextIO

AT_ONCE_BYTES = 4096
"""PIPE_BUF of Linux: where a poll sees room, so much never blocks."""
QUEUE_LINES = 10_000
END_SECONDS = 1.0
"""How long the end of the process waits for what is queued."""


class TerminalLines:
    """Writes lines to a stream. Never blocks for longer than a file takes, and never raises."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._poll: select.poll | None = None
        if self._descriptor is not None and not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLOUT)
        self._queued: deque[bytes] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._left_out = 0

    def write(self, line: str) -> int:
        """Write it, now or soon. How many lines had to be left out before it, once there is room again."""
        written = f"{line}\n".encode("utf-8", "backslashreplace")
        with self._changed:
            if not self._queued and self._has_room(len(written)):
                self._write(written)
                left_out, self._left_out = self._left_out, 0
                return left_out
            if len(self._queued) == QUEUE_LINES:
                self._left_out += 1
                return 0
            self._queued.append(written)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = Thread(target=self._write_queued, name="standard error", daemon=True)
                self._thread.start()
                atexit.register(self._end)
        return 0

    def _has_room(self, size: int) -> bool:
        if self._poll is None:
            return True
        return size <= AT_ONCE_BYTES and bool(self._poll.poll(0))

    def _write(self, written: bytes) -> None:
        with suppress(
            OSError, ValueError
        ):  # closed, or its reader is gone: no reason to end what a line is about
            if self._descriptor is None:
                self._stream.write(written.decode())
                self._stream.flush()
            else:
                rest = memoryview(written)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]

    def _write_queued(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queued))
                line = self._queued[0]
            self._write(line)
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
