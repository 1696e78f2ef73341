"""The data folder's lock: who holds it owns the servers in it, and tells others where they are."""

import fcntl
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dispatcher.embedded.addresses import Addresses, from_record, to_record
from dispatcher.embedded.errors import EmbeddedError
from dispatcher.kernel.clock import elapsed, pause

LOOK_SECONDS = 0.5
"""Longer than any look of `recorded_addresses`, which holds the lock for a moment."""
_RECORD_BYTES = 64 * 1024


class HeldLock:
    """The lock, held; it falls when this process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def record(self, addresses: Addresses | None) -> None:
        """Tell others who holds the folder, and where the servers are once they are ready."""
        record = {"pid": os.getpid()} | (to_record(addresses) if addresses is not None else {})
        text = json.dumps(record).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


@asynccontextmanager
async def hold(data_dir: Path) -> AsyncIterator[HeldLock]:
    """Hold the folder's lock during the block; EmbeddedError if another process has it."""
    path = data_dir / "lock"
    descriptor = _open(path, os.O_RDWR | os.O_CREAT)
    try:
        until = elapsed() + LOOK_SECONDS
        while not _taken(descriptor, fcntl.LOCK_EX):
            if elapsed() > until:
                raise EmbeddedError(
                    f"{data_dir} is in use by the process {_read(descriptor).get('pid', '(unknown)')}; set another "
                    "APP_DATA_DIR, or run `dispatcher services` once and paste its APP_* lines here"
                )
            await pause(0.02)
        lock = HeldLock(descriptor)
        lock.record(None)
        yield lock
    finally:
        os.close(descriptor)


def recorded_addresses(data_dir: Path) -> Addresses | None:
    """Where the servers of this folder are now; None if nobody holds the folder or they are still starting."""
    path = data_dir / "lock"
    if not path.exists():
        return None
    descriptor = _open(path, os.O_RDONLY)
    try:
        if _taken(descriptor, fcntl.LOCK_SH):
            return None
        record = _read(descriptor)
    finally:
        os.close(descriptor)
    return from_record(record) if "db_url" in record else None


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise EmbeddedError(f"cannot open {path}: {error.strerror}; set another APP_DATA_DIR") from error


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> dict[str, Any]:
    try:
        record = json.loads(os.pread(descriptor, _RECORD_BYTES, 0))
    except ValueError:  # being written at this moment
        return {}
    return record if isinstance(record, dict) else {}
