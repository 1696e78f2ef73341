"""Zips the logs of days that are over, and deletes what is too old. Every process may do it, at any time, all at once."""

import fcntl
import os
import zipfile
import zlib
from collections.abc import Callable
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


@dataclass(frozen=True, slots=True)
class Archived:
    """Names of what was made and what was deleted."""

    zipped: list[str]
    deleted: list[str]


def archive(directory: Path, *, today: date, keep_days: int, rest: Rest) -> Archived:
    """Zip each log before today that nobody has open, and delete ZIP files older than `keep_days` whole days.

    A crash in the middle neither loses a log nor doubles it: the next call finishes what was begun.

    Raises:
        OSError: The disk is full, say. Logs that could not be zipped are still there.
    """
    zipped = []
    for name in past_logs(_names_in(directory), today):
        made = _archive(directory / name, rest)
        if made is not None:
            zipped.append(made.name)
    deleted = too_old(_names_in(directory), today, keep_days=keep_days)
    for name in deleted:
        (directory / name).unlink(missing_ok=True)
    return Archived(zipped, deleted)


def _names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _archive(path: Path, rest: Rest) -> Path | None:
    """The ZIP file it is in now; None if somebody has the log open, there is nothing in it, or `rest` ended it."""
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
            made = _destination(path, log)
            if not _zip(path.name, log, made, rest):
                return None
            _sync(path.parent)  # the new name is safe before the old one goes
        path.unlink()
        return made


def _zip(name: str, log: BinaryIO, made: Path, rest: Rest) -> bool:
    part = made.with_name(f"{made.name}.part")
    status = os.fstat(log.fileno())
    member = zipfile.ZipInfo(name, datetime.fromtimestamp(status.st_mtime, UTC).timetuple()[:6])
    member.compress_type = zipfile.ZIP_DEFLATED
    member.file_size = status.st_size  # decides whether it is written with 64-bit sizes
    member.external_attr = _MODE << 16
    log.seek(0)
    try:
        with _create(part) as file:
            with zipfile.ZipFile(file, "w") as archive, archive.open(member, "w") as inside:
                while chunk := log.read(_CHUNK):
                    inside.write(chunk)
                    if rest():
                        return False
            file.flush()
            os.fsync(file.fileno())
        part.replace(made)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return True


def _destination(path: Path, log: BinaryIO) -> Path:
    """A name that is free; or that of a ZIP file made from this very log, by somebody who died before deleting it."""
    number = 1
    while (made := path.with_name(zip_name(path.name, number))).exists():
        if _made_from(made, log):
            return made
        number += 1
    return made


def _made_from(made: Path, log: BinaryIO) -> bool:
    """Whether the log begins with what is in the ZIP file; it may have grown since."""
    try:
        with zipfile.ZipFile(made) as archive:
            (member,) = archive.infolist()
    except (zipfile.BadZipFile, ValueError):
        return False
    log.seek(0)
    checksum, left = 0, member.file_size
    while left and (chunk := log.read(min(left, _CHUNK))):
        checksum = zlib.crc32(chunk, checksum)
        left -= len(chunk)
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
