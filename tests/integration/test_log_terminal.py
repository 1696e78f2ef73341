"""Standard error on real pipes, terminals and sockets: every line, in order, and whoever logs waits for nobody."""

import os
import pty
import select
import socket
import subprocess
import sys
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, stack_size

import pytest

from dispatcher.kernel.log_terminal import QUEUE_LINES, TerminalLines

LINES = 5_000
"""More than any of them holds."""
DEADLINE = 10.0
NO_THREAD = 1 << 46
"""A stack that there is no room for: "can't start new thread"."""


@contextmanager
def opened(kind: str) -> Iterator[tuple[int, int]]:
    """What is read from, and what is written to."""
    if kind == "terminal":
        reader, writer = pty.openpty()  # not raw: a line end is two bytes, and one of them may have room
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


def test_a_line_for_which_no_thread_can_be_had_goes_out_by_the_next_one() -> None:
    with opened("socket") as (reader, writer):
        terminal = TerminalLines(os.fdopen(writer, "w", closefd=False))
        before = stack_size(NO_THREAD)
        try:
            assert terminal.write("first") == 0
        finally:
            stack_size(before)
        assert terminal.write("second") == 0
        assert read(reader, 2) == ["first", "second"]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("kind", ["pipe", "terminal", "other side of a terminal", "socket"])
def test_who_logs_does_not_wait_for_a_reader_that_has_stopped(kind: str, *, blocking: bool) -> None:
    lines = texts(LINES)
    with opened(kind) as (reader, writer):
        os.set_blocking(writer, blocking)  # not ours to set: another program may share it
        terminal = TerminalLines(os.fdopen(writer, "w", closefd=False))
        soon(lambda: [terminal.write(line) for line in lines], "all is written")
        assert read(reader, LINES) == lines


def test_what_had_to_be_left_out_is_counted_once_there_is_room_again() -> None:
    with opened("pipe") as (reader, writer):
        terminal = TerminalLines(os.fdopen(writer, "w", closefd=False))
        lines = texts(2 * QUEUE_LINES)
        assert [terminal.write(line) for line in lines] == [0] * len(lines)
        got = bytearray()
        told: list[int] = []

        def until_told() -> None:
            while not any(told):
                if select.select([reader], [], [], 0.05)[0]:
                    got.extend(os.read(reader, 65_536))
                else:
                    told.append(terminal.write("later"))

        soon(until_told, "how many were left out")
        got.extend(os.read(reader, 65_536))  # with the last of "later"
    shown = got.decode().splitlines()
    early = [line for line in shown if line != "later"]
    assert shown == [*lines[: len(early)], *["later"] * (len(shown) - len(early))]
    assert len(early) >= QUEUE_LINES
    assert len(shown) + told[-1] == len(lines) + len(told)


@pytest.mark.parametrize("queued", [0, LINES])
def test_a_reader_that_goes_ends_nothing_and_the_next_one_gets_what_comes(
    tmp_path: Path, queued: int
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("w") as writer:
        terminal = TerminalLines(writer)
        for line in texts(queued):
            terminal.write(line)
        os.close(reader)
        terminal.write("lost")
        reader = os.open(fifo, os.O_RDONLY)
        got = bytearray()

        def until_read() -> None:
            while b"there" not in got:
                terminal.write("there")
                got.extend(os.read(reader, 65_536))

        soon(until_read, "what was written for the next reader")
        os.close(reader)


ENDS = """
import sys
from dispatcher.kernel import log_terminal

log_terminal.END_SECONDS = float(sys.argv[1])
terminal = log_terminal.TerminalLines(sys.stderr)
for n in range(int(sys.argv[2])):
    terminal.write(f"{n:0100}")
print("written", flush=True)
"""


def ending(seconds: float) -> subprocess.Popen[str]:
    """A process that has written more than its standard error holds, and waits for so long at its end."""
    command = [sys.executable, "-c", ENDS, str(seconds), str(LINES)]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def test_what_is_queued_at_the_end_of_the_process_still_goes_out() -> None:
    with ending(60) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said.splitlines() == texts(LINES)


def test_a_process_ends_though_nobody_reads() -> None:
    with ending(0.1) as process:
        assert process.wait(30) == 0
