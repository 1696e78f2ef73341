"""Log files that any number of processes append to: one a day (UTC), and one for errors.

A line is one `write` to a file opened with O_APPEND, so lines of several processes neither mix nor overwrite each
other. No file in use is ever renamed: a new day is another name, and there is nothing to race for. Whoever has a file
open holds a shared lock on it; a file that nobody holds, of a day that is over, is what `log_archive` may zip.
"""

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import structlog

from dispatcher.kernel.clock import unix_seconds
from dispatcher.kernel.log_names import ERRORS, EVERYTHING, log_name

log = structlog.get_logger()

_TRIES = 3
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE = 0o640


def names(path: Path, descriptor: int) -> bool:
    """Whether the path leads to this open file, and not to another one or to none."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


class _DayFile:
    """What this process has open of one kind of log."""

    def __init__(self, directory: Path, stem: str, today: Callable[[], date]) -> None:
        self._directory = directory
        self._stem = stem
        self._today = today
        self._path = directory
        self._descriptor: int | None = None

    def open(self) -> int:
        """Today's file, locked against the archive. OSError if that cannot be."""
        if self._descriptor is not None:
            return self._descriptor
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            # Anew each time: if the archive was faster, then because the day has just ended.
            path = self._directory / log_name(self._stem, self._today())
            descriptor = os.open(path, _FLAGS, _MODE)
            kept = False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                kept = names(path, descriptor)
            except BlockingIOError:
                continue
            finally:
                if not kept:
                    os.close(descriptor)
            if kept:
                self.close()
                self._path, self._descriptor = path, descriptor
                return descriptor
        raise BlockingIOError(
            errno.EAGAIN, f"{log_name(self._stem, self._today())} is locked by another program"
        )

    def append(self, line: bytes) -> None:
        """The whole line, or none of it and an OSError."""
        descriptor = self.open()
        written = os.write(descriptor, line)
        if written == len(line):
            return
        _blank(descriptor, written)
        written = os.write(descriptor, line)  # it fits by now, or this says why it does not
        if written != len(line):
            _blank(descriptor, written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def let_go_unless(self, day: date) -> None:
        """Close it if it is another day's, or not what its name leads to any more."""
        if self._descriptor is not None and (
            self._path.name != log_name(self._stem, day) or not names(self._path, self._descriptor)
        ):
            self.close()

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def _blank(descriptor: int, written: int) -> None:
    """Turn the piece of a line that fitted in into blanks, so that it cannot be taken for one, or run into the next.

    Others may have appended behind it by now: it can be written over, but not cut off.
    """
    begin = os.lseek(descriptor, 0, os.SEEK_CUR) - written
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_APPEND)  # with it, Linux would append this as well
    try:
        os.pwrite(descriptor, b" " * (written - 1) + b"\n", begin)
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


class LogFiles:
    """Both files of today. What goes wrong with them is told on standard error, once, and never to who writes a line."""

    def __init__(self, directory: Path, *, seconds: Callable[[], int] = unix_seconds) -> None:
        self.directory = directory
        self._seconds = seconds
        self._everything = _DayFile(directory, EVERYTHING, self.today)
        self._errors = _DayFile(directory, ERRORS, self.today)
        # Reentrant, because the garbage collector may run something that logs in the middle of a line's way.
        self._lock = threading.RLock()
        self._looked_at = -1
        self._failing = False
        self._resting = False
        self._missed = 0

    def today(self) -> date:
        """The day it is, in UTC: there each has 24 hours."""
        return datetime.fromtimestamp(self._seconds(), UTC).date()

    def open(self) -> None:
        """Make the directory and today's file, to find out whether that is possible. OSError if it is not."""
        with self._lock:
            self._everything.open()

    def write(self, line: str, *, error: bool) -> None:
        """Append a line, given without its end, and to the file of errors too if it is one. Raises nothing."""
        whole = line.encode(errors="backslashreplace") + b"\n"
        failed: OSError | None = None
        missed = 0
        with self._lock:
            second = self._seconds()
            if second != self._looked_at:
                self._look(second)
            if self._resting:
                self._missed += 1
                return
            try:
                self._everything.append(whole)
                if error:
                    self._errors.append(whole)
            except OSError as problem:
                failed = None if self._failing else problem
                self._missed += 1
                self._failing = self._resting = True
                self.close()
            else:
                if self._failing:
                    missed, self._missed, self._failing = self._missed, 0, False
        if failed is not None:
            log.warning("log_files_failed", directory=str(self.directory), error=str(failed))
        if missed:
            log.warning("log_files_back", directory=str(self.directory), missed=missed)

    def let_go(self) -> None:
        """Close what is of a day that is over: a process with nothing to say would keep it open."""
        with self._lock:
            self._look(self._seconds())

    def close(self) -> None:
        """Close both; the next line opens them again."""
        with self._lock:
            self._everything.close()
            self._errors.close()

    def _look(self, second: int) -> None:
        """What is done once a second, not for each line: see what day it is, and whether the files are still there."""
        self._looked_at = second
        self._resting = False
        day = self.today()
        self._everything.let_go_unless(day)
        self._errors.let_go_unless(day)
