"""A pipe or a terminal that others share, opened once more: O_NONBLOCK belongs to the open file, not to the descriptor."""

import os
import stat

_PTMX = (5, 2)


def is_pipe_or_terminal(descriptor: int) -> bool:
    """Whether a write may wait for a reader, and opening it again may help."""
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor)


def opened_again(descriptor: int) -> int | None:
    """The same pipe or terminal as an open file of our own, to write to, that never blocks; None where we may not.

    Set on the descriptor itself, O_NONBLOCK would hit every process that shares it. Where there is no /proc, as on
    macOS, there is no other way either: /dev/fd gives the same open file again.
    """
    device = os.fstat(descriptor).st_rdev
    if (os.major(device), os.minor(device)) == _PTMX:  # to open that makes another terminal
        return None
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return None
