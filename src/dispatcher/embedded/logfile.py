"""A server's log file: bounded at each start, its last lines quoted in errors."""

import os
from pathlib import Path

KEEP_BYTES = 5 * 1024 * 1024
"""A log longer than this becomes `<name>.1` at the next start."""
_TAIL_BYTES = 4096
_TAIL_LINES = 12


class LogFile:
    """One server's log, which its process appends to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began_at = 0

    def open(self) -> int:
        """A descriptor to append to, from where `tail` then counts; the caller closes it."""
        if self.path.exists() and self.path.stat().st_size > KEEP_BYTES:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        self._began_at = os.fstat(descriptor).st_size
        return descriptor

    def tail(self) -> str:
        """The last lines since it was opened, for an error text; empty if there are none."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(max(self._began_at, self.path.stat().st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode(errors="replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:])
