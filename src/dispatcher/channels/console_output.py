"""A descriptor that is written to without ever making the event loop wait, and why it takes nothing if it does not."""

import asyncio
import errno
import fcntl
import os
import select
import socket
import stat
import sys
from contextlib import suppress

from dispatcher.channels.console_thread import WriteThread, Written
from dispatcher.kernel.clock import elapsed, pause
from dispatcher.kernel.opened_again import is_pipe_or_terminal, opened_again

GRACE_SECONDS = 0.5
"""For so long a reader may take nothing before that is called a problem: any reader lags now and then."""
AGAIN_SECONDS = 1.0
"""After a failure that a poll cannot see the end of, e.g. a full disk, writing is tried again so much later."""

LOOK_SECONDS = 0.01
"""Where no epoll can be had, how often to look whether there is room again."""

_STANDARD_OUTPUT = 1
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL
_NEWLINE = ord("\n")

CLOSED = "standard output is closed"
READER_GONE = "standard output is closed: its reader is gone"
SLOW = "standard output takes nothing at the moment: its reader is slow or stopped"
STOPPED = "standard output takes nothing at the moment: the terminal is stopped (Ctrl-Q lets it go on)"
STUCK = "standard output takes nothing at the moment: the system does not come back from a write"


def open_console() -> int | None:
    """A descriptor of our own for standard output; None if that is closed or cannot be written to.

    To be called before anything else opens a file: what is closed of the three standard descriptors becomes
    /dev/null, so that no database connection can end up as number 1 and get what somebody prints.
    """
    was_closed = (
        sys.__stdout__ is None
    )  # seen by Python at its start; by now the number may belong to another
    for standard in range(3):
        try:
            os.fstat(standard)
        except OSError:
            was_closed = was_closed or standard == _STANDARD_OUTPUT
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(null, True)
    if was_closed:
        return None
    if fcntl.fcntl(_STANDARD_OUTPUT, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return None
    return os.dup(_STANDARD_OUTPUT)


class ConsoleOutput:
    """Where the lines go. One user at a time; it is the event loop's, and no other thread's.

    A pipe and a terminal are opened once more, because O_NONBLOCK belongs to the open file and not to the descriptor:
    set on standard output itself, it would hit every process that shares it. A socket has a flag for each call. All of
    these are written to by the event loop. Whatever else there is, files above all, is written by a thread, since a
    disk may take its time; so is a pipe or a terminal that we may not open.
    """

    def __init__(self, descriptor: int | None) -> None:
        """The descriptor stays the caller's; None stands for one that is closed."""
        self._poll: select.poll | None = None
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._thread: WriteThread | None = None
        self._under_way: asyncio.Future[int] | None = None
        self._last: asyncio.Future[int] | None = None
        self._failure: str | None = None
        self._stalled_since: float | None = None
        self._failed_at = 0.0
        self._was_full_at = float("-inf")
        self.mid_line = False
        """The last byte that went out did not end a line."""
        self._descriptor = -1 if descriptor is None else descriptor
        self._is_terminal = False
        if descriptor is not None:
            self._open(descriptor)

    def _open(self, descriptor: int) -> None:
        self._is_terminal = os.isatty(descriptor)
        waits_for_reader = is_pipe_or_terminal(descriptor)
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            self._socket = socket.socket(fileno=os.dup(descriptor))
            self._descriptor = self._socket.fileno()
        elif waits_for_reader:
            self._own = opened_again(descriptor)
            self._descriptor = descriptor if self._own is None else self._own
        if self._socket is None and self._own is None:
            self._thread = WriteThread(descriptor)
        if self._socket or waits_for_reader:
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLOUT)

    @property
    def problem(self) -> str | None:
        """Why it takes nothing at the moment, for people; None when it does. Costs a few microseconds."""
        if self._descriptor < 0:
            return CLOSED
        now, events = elapsed(), self._events()
        if events & _GONE:
            return READER_GONE
        if self._failure is not None and now - self._failed_at < AGAIN_SECONDS:
            return self._failure
        full = now - self._was_full_at < AGAIN_SECONDS  # a terminal's poll may say otherwise, and be wrong
        if events and self._under_way is None and not full:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        elif now - self._stalled_since > GRACE_SECONDS:
            return STUCK if self._under_way is not None and events else STOPPED if self._is_terminal else SLOW
        return None

    async def room(self) -> None:
        """Wait until it takes something, or fails at once."""
        if self._under_way is not None:
            with suppress(OSError):  # its failure is noted already
                await asyncio.shield(self._under_way)
        if self._poll is None or self._events():
            return
        if self._stalled_since is None:
            self._stalled_since = elapsed()
        try:
            watcher = select.epoll()
        except (AttributeError, OSError):  # another system than Linux; or no more files can be opened
            while not self._events():
                await pause(LOOK_SECONDS)
            return
        loop = asyncio.get_running_loop()
        there_is: asyncio.Future[None] = loop.create_future()
        # Not the descriptor itself: uvloop would set O_NONBLOCK on it.
        with watcher:
            watcher.register(self._descriptor, select.EPOLLOUT)
            loop.add_reader(watcher.fileno(), _tell, there_is)
            try:
                await there_is
            finally:
                loop.remove_reader(watcher.fileno())

    async def write(self, lines: Written) -> int:
        """Write what goes; how many bytes that were, which may be 0. `room` comes before it.

        A cancellation leaves what a thread has begun to end by itself: `came_back` tells how much went out.

        Raises:
            OSError: It cannot be written to: `problem` says why.
        """
        if self._thread is None:
            try:
                taken = self._write_now(lines)
            except OSError as error:
                self._fail(error)
                raise
            self._note(lines, taken)
            return taken
        if self._poll is not None:  # so much goes in at once, so that the thread comes back
            lines = lines[: select.PIPE_BUF]
        if self._stalled_since is None:  # what took nothing before may go on taking nothing
            self._stalled_since = elapsed()
        self._last = self._under_way = under_way = self._thread.write(lines)
        under_way.add_done_callback(lambda done: self._has_ended(lines, done))
        return await asyncio.shield(under_way)

    async def came_back(self, seconds: float) -> int | None:
        """How much was taken by the write that was cancelled just now; None if it does not end within so many seconds."""
        if self._last is None:
            return None
        await asyncio.wait({self._last}, timeout=seconds)
        if not self._last.done():
            return None
        return 0 if self._last.exception() else self._last.result()

    def close(self) -> None:
        """Give up what was opened here, without waiting for anything."""
        if self._own is not None:
            os.close(self._own)
        if self._socket is not None:
            self._socket.close()
        if self._thread is not None:
            self._thread.close()
        self._poll, self._own, self._socket, self._descriptor = None, None, None, -1

    def _events(self) -> int:
        """What a poll says; a file can always be written to, as far as that knows."""
        if self._poll is None:
            return select.POLLOUT
        found = self._poll.poll(0)
        return found[0][1] if found else 0

    def _write_now(self, lines: Written) -> int:
        try:
            if self._socket is not None:
                return self._socket.send(lines, socket.MSG_DONTWAIT)
            return os.write(self._descriptor, lines)
        except BlockingIOError:
            return 0

    def _has_ended(self, lines: Written, done: asyncio.Future[int]) -> None:
        self._under_way = None
        error = done.exception()
        if isinstance(error, OSError):
            self._fail(error)
        elif error is None:
            self._note(lines, done.result())

    def _note(self, lines: Written, taken: int) -> None:
        if taken:
            self.mid_line = lines[taken - 1] != _NEWLINE
            self._failure = self._stalled_since = None
        self._was_full_at = elapsed() if taken < len(lines) else float("-inf")

    def _fail(self, error: OSError) -> None:
        gone = error.errno in {errno.EPIPE, errno.ECONNRESET}
        text = (
            READER_GONE if gone else f"standard output takes nothing: {os.strerror(error.errno or 0).lower()}"
        )
        self._failure, self._failed_at, self._stalled_since = text, elapsed(), None


def _tell(there_is: asyncio.Future[None]) -> None:
    if not there_is.done():
        there_is.set_result(None)
