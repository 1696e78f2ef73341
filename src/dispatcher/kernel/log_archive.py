"""Zips the logs of days that are over, and deletes what is too old. Every process may do it, at any time, all at once."""

import fcntl
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO

from dispatcher.kernel.log_files import names
from dispatcher.kernel.log_names import past_logs, too_old, zip_name

_CHUNK = 1024 * 1024
_MODE = 0o640

Rest = Callable[[], bool]
"""Called between two pieces of work; True ends the work, and what was begun is left for the next time."""

_EARLIEST, _LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
"""What a ZIP file can say of when a file was changed."""


class _GivenUp(Exception):  # noqa: N818 - no error
    """`rest` has ended the work."""


@dataclass(frozen=True, slots=True)
class Archived:
    """Names of what was made and what was deleted."""

    zipped: list[str]
    deleted: list[str]


def archive(directory: Path, *, today: date, keep_days: int, rest: Rest) -> Archived:
    """Zip each log before today that nobody has open, and delete ZIP files older than `keep_days` whole days.

    A crash in the middle neither loses a log nor doubles it: the next call finishes what was begun.

    Raises:
        OSError: The first that was met. What it stopped is still there; all else is done.
    """
    names_there, done, failures = _names_in(directory), Archived([], []), list[OSError]()
    for name in too_old(names_there, today, keep_days=keep_days):  # first: zipping wants room
        try:
            (directory / name).unlink(missing_ok=True)
            done.deleted.append(name)
        except OSError as error:
            failures.append(error)
    for name in past_logs(names_there, today):
        try:
            made = _archive(directory / name, rest)
        except _GivenUp:
            break
        except OSError as error:
            failures.append(error)
        else:
            if made is not None:
                done.zipped.append(made.name)
    if failures:
        raise failures[0]
    return done


def _names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _archive(path: Path, rest: Rest) -> Path | None:
    """The ZIP file it is in now; None if somebody has the log open, or there is nothing in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as log:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not names(path, descriptor):
            return None
        made = None
        if os.fstat(descriptor).st_size:
            made = _destination(path, log, rest)
            _zip(path.name, log, made, rest)
            _sync(path.parent)  # the new name is safe before the old one goes
        path.unlink()
        return made


def _zip(name: str, log: BinaryIO, made: Path, rest: Rest) -> None:
    part = made.with_name(f"{made.name}.part")
    status = os.fstat(log.fileno())
    changed = datetime.fromtimestamp(status.st_mtime, UTC).timetuple()[:6]
    member = zipfile.ZipInfo(name, min(max(changed, _EARLIEST), _LATEST))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.file_size = status.st_size  # decides whether it is written with 64-bit sizes
    member.external_attr = _MODE << 16
    try:
        with _create(part) as file:
            with zipfile.ZipFile(file, "w") as archive, archive.open(member, "w") as inside:
                for piece in _pieces(log, rest):
                    inside.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(made)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _pieces(log: BinaryIO, rest: Rest) -> Iterator[bytes]:
    """All of it, from the beginning, with a rest after each piece."""
    log.seek(0)
    while piece := log.read(_CHUNK):
        yield piece
        if rest():
            raise _GivenUp


def _destination(path: Path, log: BinaryIO, rest: Rest) -> Path:
    """A name that is free; or that of a ZIP file made from this very log, by somebody who died before deleting it."""
    number = 1
    while (made := path.with_name(zip_name(path.name, number))).exists():
        if _made_from(made, log, rest):
            return made
        number += 1
    return made


def _made_from(made: Path, log: BinaryIO, rest: Rest) -> bool:
    """Whether the log begins with what is in the ZIP file; it may have grown since."""
    try:
        with zipfile.ZipFile(made) as archive:
            (member,) = archive.infolist()
    except (zipfile.BadZipFile, ValueError):
        return False
    checksum, left = 0, member.file_size
    for piece in _pieces(log, rest):
        checksum = zlib.crc32(piece[:left], checksum)
        left -= len(piece[:left])
        if not left:
            break
    return left == 0 and checksum == member.CRC


def _create(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, _MODE), "wb")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
