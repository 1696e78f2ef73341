"""Becomes a server that dies with its starter. Run by path, `python -I -S child.py …`; imports nothing of ours.

Arguments: the starter's pid, the signal that stops the server cleanly, uid and gid to run as (-1 = as we are),
then the server's own command line.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, stop: int, uid: int, gid: int, command: list[str]) -> None:
    """Replace this process by the server; returns only if the starter is already gone."""
    # Python's own SIGINT handler would only note a signal that exec then forgets.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o077)
    libc = ctypes.CDLL(None, use_errno=True)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After setuid, which clears it.
    if sys.platform == "linux" and libc.prctl(PR_SET_PDEATHSIG, stop, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # A starter that died before the line above sends no signal any more.
    if os.getppid() != parent:
        return
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted: the command is a list


if __name__ == "__main__":
    starter, clean_stop, run_as_uid, run_as_gid = (int(number) for number in sys.argv[1:5])
    become(starter, clean_stop, run_as_uid, run_as_gid, sys.argv[5:])
