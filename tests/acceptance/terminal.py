"""A command on a terminal, as a person has it: what they see, and what they type."""

import asyncio
import fcntl
import os
import pty
import struct
import termios
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte
from tests.acceptance.replica import COMMAND

COLUMNS, LINES = 80, 24
CHUNK_BYTES = 64 * 1024


class Terminal:
    """A terminal of 80 x 24."""

    def __init__(self) -> None:
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._changed = asyncio.Event()
        self._process: Process | None = None
        self.raw = b""

    async def run(self, *arguments: str, folder: Path, environment: Mapping[str, str]) -> None:
        """Start the command on it."""
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        self._process = await asyncio.create_subprocess_exec(
            str(COMMAND),
            *arguments,
            cwd=folder,
            env={**environment, "TERM": "xterm", "LANG": "C.UTF-8"},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
        )

    @property
    def shown(self) -> list[str]:
        """What the lines show."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.shown)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    async def shows(self, true: Callable[[str], object], what: str, *, seconds: float = 30.0) -> None:
        """Wait until it shows that."""
        try:
            async with asyncio.timeout(seconds):
                while not true(self.text):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not {what}:\n{self.text}") from None

    async def ended(self) -> int:
        """The exit code, when the command has ended."""
        assert self._process is not None
        async with asyncio.timeout(20):
            return await self._process.wait()

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)

    def _read(self) -> None:
        try:
            got = os.read(self._master, CHUNK_BYTES)
        except (BlockingIOError, OSError):
            return
        self.raw += got
        self._stream.feed(got)
        self._changed.set()
