"""Folders that are private to one server, and the socket folder where a path would be too long for the OS."""

import hashlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from dispatcher.embedded.accounts import Account, own_account
from dispatcher.embedded.errors import EmbeddedError

SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""The longest path of a unix socket."""


def tag_of(data_dir: Path) -> str:
    """The name this data folder's servers carry on their command line, the same at every start."""
    return f"dispatcher-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]}"


def private_folder(path: Path, account: Account, mode: int = 0o700) -> Path:
    """Make the folder, or take over the one that is there if it is ours: no link, no one else's.

    The account owns it afterwards.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise EmbeddedError(
            f"cannot make the folder {path}: {error.strerror}; set another APP_DATA_DIR"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {account.uid, own_account().uid}:
        raise EmbeddedError(
            f"{path} is not a folder of this user (owner uid {found.st_uid}); remove it, or set another APP_DATA_DIR"
        )
    if found.st_uid != account.uid:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    if stat.S_IMODE(found.st_mode) != mode:
        path.chmod(mode)
    return path


def socket_folder(data_dir: Path, server: str, socket: str, account: Account) -> Path:
    """A folder only the account can enter, for a socket of this name: in the data folder if its path will do."""
    name = f"{tag_of(data_dir)}-{account.uid}-{server}"
    candidates = [data_dir / server / "socket", Path(tempfile.gettempdir()) / name, Path("/tmp") / name]  # noqa: S108 - private, checked
    for candidate in candidates:
        # A comma parts several hosts in a Postgres URL.
        if len(os.fsencode(candidate / socket)) <= SOCKET_PATH_BYTES and "," not in str(candidate):
            return private_folder(candidate, account)
    raise EmbeddedError(f"no folder is short enough for a socket of {server}; set a shorter APP_DATA_DIR")


def discard_outside(data_dir: Path, folder: Path) -> None:
    """Remove a socket folder that had to be made elsewhere; the one in the data folder stays."""
    if not folder.is_relative_to(data_dir):
        shutil.rmtree(folder, ignore_errors=True)
