"""Starts a child through `child.py`, so that it dies with us and, if asked, runs as somebody else."""

import asyncio
import os
import signal
import sys
import threading
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from pathlib import Path

from dispatcher.embedded.accounts import Account
from dispatcher.embedded.errors import EmbeddedError

_CHILD = Path(__file__).with_name("child.py")


async def launch(
    command: Sequence[str], *, account: Account, stop: signal.Signals, folder: Path, output: int
) -> Process:
    """Start the command in the folder, both its outputs going to the descriptor; it gets `stop` when we die.

    It has a session of its own, so that a terminal's Ctrl-C reaches us alone.
    """
    # Linux ties the death signal to the thread that forks, not to its process.
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError("embedded servers start from the main thread only; run the event loop there")
    uid, gid = (-1, -1) if account.is_ours else (account.uid, account.gid)
    starter = [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), str(int(stop)), str(uid), str(gid)]
    return await asyncio.create_subprocess_exec(
        *starter,
        *command,
        stdin=DEVNULL,
        stdout=output,
        stderr=output,
        cwd=folder,
        env=_environment(),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """Nothing of ours: every `PG…` and `ETCD_…` variable would change the server."""
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    if "LD_LIBRARY_PATH" in os.environ:  # some builds of Python do not start without it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment
