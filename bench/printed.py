"""What a replica prints, and when each line arrived at the reading end of its standard output."""

import os
import threading
import time
from dataclasses import dataclass

CHUNK_BYTES = 65_536
"""What a pipe of Linux holds."""


@dataclass(frozen=True, slots=True)
class PrintedLine:
    """One line, without its end."""

    at: float
    """The wall clock, in seconds since 1970, when the read that brought its last byte came back."""
    text: bytes


class Printed:
    """Reads a pipe on a thread of its own, which does nothing but read and look at the clock, until its end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._chunks: list[tuple[float, bytes]] = []
        self._rest = b""
        self.lines = 0
        """Lines that have arrived and were not taken yet."""
        threading.Thread(target=self._read, name="printed", daemon=True).start()

    def take(self) -> list[PrintedLine]:
        """The lines that have arrived since the last time."""
        chunks, self._chunks, self.lines = self._chunks, [], 0
        found = []
        for at, chunk in chunks:
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            found += [PrintedLine(at, text) for text in whole]
        return found

    def _read(self) -> None:
        while chunk := os.read(self._descriptor, CHUNK_BYTES):
            self._chunks.append((time.time(), chunk))
            self.lines += chunk.count(b"\n")
