"""Whom a server runs as. Postgres refuses to run as root, so under root it runs as `nobody`."""

import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from dispatcher.embedded.errors import EmbeddedError

log = structlog.get_logger()

_FOLDER_BITS = stat.S_IROTH | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system, by number."""

    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """Whether it is the one this process runs as, so that no privilege needs dropping."""
        return self.uid == os.geteuid()


def own_account() -> Account:
    """The user this process runs as."""
    return Account(os.geteuid(), os.getegid())


def postgres_account() -> Account:
    """The user Postgres runs as: our own, or `nobody` when we are root."""
    if os.geteuid() != 0:
        return own_account()
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "Postgres does not run as root and this system has no user 'nobody' to run it as; "
            "start as an ordinary user, or set APP_DB_URL"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def open_the_way(account: Account, paths: Iterable[Path]) -> None:
    """Let the account pass through the folders above these paths: the right to traverse is added, not to read.

    Only root calls this, and only for `nobody`; what was opened is logged once, because it widens a
    permission of folders that are not ours.
    """
    opened: list[str] = []
    for folder in sorted({parent for path in paths for parent in path.resolve().parents}):
        now = folder.stat()
        if now.st_uid != account.uid and not now.st_mode & stat.S_IXOTH:
            _add(folder, now.st_mode, stat.S_IXOTH)
            opened.append(str(folder))
    if opened:
        log.warning(
            "embedded_folders_opened", folders=opened, right="traverse", reason="postgres runs as nobody"
        )


def let_read(trees: Iterable[Path], first: Path) -> None:
    """Let everyone read and run a wheel's trees, if its first program shows that an umask of root's forbade it."""
    if first.stat().st_mode & _FOLDER_BITS == _FOLDER_BITS:
        return
    for tree in trees:
        for path in (tree, *tree.rglob("*")):
            now = path.lstat()
            if not stat.S_ISLNK(now.st_mode):
                _add(path, now.st_mode, _FOLDER_BITS if now.st_mode & stat.S_IXUSR else stat.S_IROTH)
        log.warning(
            "embedded_programs_opened", folder=str(tree), right="read", reason="postgres runs as nobody"
        )


def _add(path: Path, mode: int, bits: int) -> None:
    try:
        path.chmod(stat.S_IMODE(mode) | bits)
    except OSError as error:
        raise EmbeddedError(
            f"Postgres runs as 'nobody' under root and cannot reach {path} ({error.strerror}); "
            "start as an ordinary user, set APP_DATA_DIR to a folder it can reach, or set APP_DB_URL"
        ) from error
