"""Standard error on real pipes, terminals and sockets: every line, in order, and whoever logs waits for nobody."""

import os
import pty
import socket
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from dispatcher.kernel.log_terminal import TerminalLines

LINES = 5_000
"""More than any of them holds."""
DEADLINE = 10.0


@contextmanager
def opened(kind: str) -> Iterator[tuple[int, int]]:
    """What is read from, and what is written to."""
    if kind == "terminal":
        reader, writer = (
            pty.openpty()
        )  # as it comes: a line end is two bytes there, of which one may have room
    elif kind == "other side of a terminal":  # cannot be opened again
        writer, reader = pty.openpty()
        tty.setraw(reader)
    elif kind == "socket":
        reader, writer = (end.detach() for end in socket.socketpair())
    else:
        reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def texts(count: int) -> list[str]:
    return [f"{n:0100}" for n in range(count)]


def read(reader: int, count: int) -> list[str]:
    """So many lines; fails when they do not come."""
    got = bytearray()

    def run() -> None:
        while got.count(b"\n") < count:
            got.extend(os.read(reader, 65_536))

    soon(run, "everything is read")
    return got.decode().splitlines()


def soon(run: object, what: str) -> None:
    thread = Thread(target=run, daemon=True)  # type: ignore[arg-type]
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive(), f"not in time: {what}"


@pytest.mark.parametrize("kind", ["pipe", "terminal", "other side of a terminal", "socket"])
def test_who_logs_does_not_wait_for_a_reader_that_has_stopped(kind: str) -> None:
    lines = texts(LINES)
    with opened(kind) as (reader, writer):
        terminal = TerminalLines(os.fdopen(writer, "w", closefd=False))
        soon(lambda: [terminal.write(line) for line in lines], "all is written")
        assert read(reader, LINES) == lines
