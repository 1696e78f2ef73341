"""The console channel on real pipes, terminals, sockets and files: every line once, in order, and nobody waits."""

import asyncio
import fcntl
import os
import pty
import resource
import select
import socket
import subprocess
import sys
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread, stack_size

import pytest
import uvloop

from dispatcher.channels.console import ConsoleChannel
from dispatcher.channels.console_line import plain_line
from dispatcher.channels.console_output import READER_GONE, SLOW, STOPPED, ConsoleOutput
from dispatcher.channels.contract import Delivered, Envelope, Outcome, Retry
from dispatcher.kernel.clock import elapsed, pause, utc_now

Ends = tuple[int, int]
"""What is read from, and what is written to."""
LONGEST_GAP = 0.3
"""Seconds. A write that blocks would last until somebody reads; a machine that is busy takes some of it too."""


@contextmanager
def printing(
    to: ConsoleOutput | int | None, *, now: Callable[[], datetime] = utc_now
) -> Iterator[ConsoleChannel]:
    output = to if isinstance(to, ConsoleOutput) else ConsoleOutput(to)
    channel = ConsoleChannel(output, line=plain_line, now=now)
    try:
        yield channel
    finally:
        channel.close()


def messages(count: int, *, start: int = 0, text: str = "Hello") -> list[Envelope]:
    return [
        Envelope(n, "somebody", f"{text} {n}.", 1, "c-1", utc_now() - timedelta(seconds=5))
        for n in range(start, start + count)
    ]


def printed(output: bytes | bytearray) -> list[int]:
    """The ids of the whole lines, in order. Fails for a line that is not what was printed."""
    return [number for line in output.decode().splitlines() if (number := _number(line)) is not None]


def _number(line: str) -> int | None:
    fields = line.split("  ")
    number = fields[1].removeprefix("#") if len(fields) == 5 else ""
    return int(number) if line.endswith(f" {number}.") else None


def delivered(outcomes: list[Outcome | None]) -> list[int]:
    return [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Delivered)]


async def print_all(
    channel: ConsoleChannel, envelopes: list[Envelope], seconds: float
) -> list[Outcome | None]:
    return list(await channel.deliver_batch(envelopes, until=elapsed() + seconds))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await pause(0.01)


def read_what_is_there(reader: int) -> bytes:
    got = b""
    while select.select([reader], [], [], 0.1)[0]:
        try:
            piece = os.read(reader, 65_536)
        except OSError:  # how a terminal says that the other side is closed
            break
        if not piece:
            break
        got += piece
    return got


def read_slowly(reader: int, kept: bytearray) -> Thread:
    """Reads until the end, in pieces that do not fit lines."""

    def run() -> None:
        with suppress(OSError):
            while piece := os.read(reader, 3_001):
                kept.extend(piece)

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Ends]:
    with ExitStack() as stack:
        if kind in {"terminal", "raw terminal"}:
            reader, writer = pty.openpty()
            if kind == "raw terminal":
                tty.setraw(writer)
        elif kind == "socket":
            reader, writer = (end.detach() for end in socket.socketpair())
        elif kind == "file":
            writer = os.open(folder / "out", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            reader = os.open(folder / "out", os.O_RDONLY)
        else:
            reader, writer = os.pipe()
        stack.callback(_close, reader)
        stack.callback(_close, writer)
        yield reader, writer


def _close(descriptor: int) -> None:
    with suppress(OSError):
        os.close(descriptor)


@contextmanager
def pipe_that_cannot_be_opened_again() -> Iterator[tuple[int, int, ConsoleOutput]]:
    """A named pipe without a reader is not opened without waiting for one; the reader comes after that."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder, "pipe")
        os.mkfifo(path)
        first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(path, os.O_WRONLY)
        stack.callback(_close, writer)
        os.close(first)
        with pytest.raises(OSError, match="No such device"):
            os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
        output = ConsoleOutput(writer)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(_close, reader)
        os.set_blocking(reader, True)
        yield reader, writer, output


def fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"\n" * 4096)
    os.set_blocking(pipe, True)


@contextmanager
def watched() -> Iterator[list[float]]:
    """The moments at which the event loop went round."""
    moments: list[float] = []

    async def watch() -> None:
        while True:
            moments.append(elapsed())
            await pause(0.001)

    task = asyncio.get_running_loop().create_task(watch())
    try:
        yield moments
    finally:
        task.cancel()
    moments.append(elapsed())


def longest_gap(moments: list[float]) -> float:
    return max(after - before for before, after in pairwise(moments))


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket", "file"])
async def test_batches_given_at_once_are_printed_whole_once_and_one_after_the_other(
    kind: str, tmp_path: Path
) -> None:
    kept = bytearray()
    with opened(kind, tmp_path) as (reader, writer):
        thread = None if kind == "file" else read_slowly(reader, kept)
        with printing(writer) as channel:
            sizes = [1, 300, 5_000, 200_000, 7, 4_096]
            batches = [messages(20, start=20 * n, text="x" * size) for n, size in enumerate(sizes)]
            outcomes = await asyncio.gather(*(print_all(channel, batch, 30) for batch in batches))
            assert channel.problem is None
        assert [delivered(of) for of in outcomes] == [list(range(20))] * len(batches)
        os.close(writer)
        if thread is not None:
            await asyncio.to_thread(thread.join)
        else:
            kept.extend((tmp_path / "out").read_bytes())
    assert printed(kept) == list(range(20 * len(sizes)))


async def filled(channel: ConsoleChannel, problem: str) -> tuple[list[int], set[int]]:
    """Print until it takes nothing any more, and says why. Which are out, and which were torn, if only by their end.

    A terminal that is full has room again when the kernel has moved on what it took, whenever that is.
    """
    out: list[int] = []
    torn: set[int] = set()
    async with asyncio.timeout(20):
        for start in count(0, 3_000):
            outcomes = await print_all(channel, messages(3_000, start=start), 0.5)
            torn_now = {start + n for n, outcome in enumerate(outcomes) if isinstance(outcome, Retry)}
            assert len(torn_now) <= 1
            assert outcomes[-1] is None
            torn |= torn_now
            out += [start + n for n in delivered(outcomes)]
            if start and outcomes[0] is None and channel.problem == problem:
                break
    return out, torn


async def blocked_and_on_again(reader: int, writer: int, channel: ConsoleChannel, problem: str) -> None:
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    with watched() as moments:
        out, torn = await filled(channel, problem)
    assert longest_gap(moments) < LONGEST_GAP
    assert fcntl.fcntl(writer, fcntl.F_GETFL) == flags  # others have it too
    assert out
    got = await asyncio.to_thread(read_what_is_there, reader)
    await until(lambda: channel.problem is None)
    more = range(1_000_000, 1_000_005)
    assert delivered(await print_all(channel, messages(5, start=more[0]), 5)) == [0, 1, 2, 3, 4]
    got += await asyncio.to_thread(read_what_is_there, reader)
    assert [number for number in printed(got) if number not in torn] == [*out, *more]


@pytest.mark.parametrize("kind", ["pipe", "terminal", "raw terminal", "socket"])
async def test_a_reader_that_takes_nothing_makes_nobody_wait_and_loses_nothing(
    kind: str, tmp_path: Path
) -> None:
    async def check() -> None:
        with opened(kind, tmp_path) as (reader, writer), printing(writer) as channel:
            await blocked_and_on_again(reader, writer, channel, STOPPED if "terminal" in kind else SLOW)

    await _on("uvloop", check)  # what the service runs on


async def _on(loop: str, check: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await check()

    if loop == "uvloop":
        await asyncio.to_thread(uvloop.run, run())
    else:
        await run()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_pipe_that_may_not_be_opened_again_is_written_to_by_a_thread(loop: str) -> None:
    async def check() -> None:
        with pipe_that_cannot_be_opened_again() as (reader, writer, output), printing(output) as channel:
            if loop == "uvloop":
                os.set_blocking(writer, False)  # as somebody might who shares it
            await blocked_and_on_again(reader, writer, channel, SLOW)

    await _on(loop, check)


async def test_a_write_that_does_not_come_back_is_given_up_and_its_lines_may_be_out() -> None:
    # The other side of a terminal cannot be opened again, and takes a part of a write before it blocks.
    writer, reader = pty.openpty()
    tty.setraw(reader)
    with printing(writer) as channel:
        with watched() as moments:
            outcomes = await print_all(channel, messages(3_000), 0.5)
            await until(lambda: channel.problem == STOPPED)
        assert longest_gap(moments) < LONGEST_GAP
        out = delivered(outcomes)
        unknown = [n for n, o in enumerate(outcomes) if o is not None and n not in out]
        assert all(isinstance(outcomes[n], Retry) and outcomes[n].maybe_delivered for n in unknown)  # type: ignore[union-attr]
        assert outcomes[unknown[-1] + 1 :] == [None] * (2_999 - unknown[-1])
        got = await asyncio.to_thread(read_what_is_there, reader)
        assert delivered(await print_all(channel, messages(2, start=9_000), 5)) == [0, 1]
        got += await asyncio.to_thread(read_what_is_there, reader)
    os.close(writer)
    os.close(reader)
    assert printed(got) == [*out, *unknown, 9_000, 9_001]


@pytest.mark.parametrize("by", ["loop", "thread"])
async def test_a_line_that_was_torn_is_ended_before_the_next(by: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        if by == "thread":
            reader, writer, output = stack.enter_context(pipe_that_cannot_be_opened_again())
        else:
            reader, writer = stack.enter_context(opened("pipe", tmp_path))
            output = ConsoleOutput(writer)
        channel = stack.enter_context(printing(output))
        big, *rest = await print_all(channel, messages(1, text="x" * 200_000) + messages(2, start=1), 0.2)
        assert isinstance(big, Retry)
        assert big.maybe_delivered
        assert rest == [None, None]
        got = await asyncio.to_thread(read_what_is_there, reader)
        assert delivered(await print_all(channel, messages(2, start=1), 5)) == [0, 1]
        got += await asyncio.to_thread(read_what_is_there, reader)
    assert len(got.splitlines()) == 3
    assert printed(got) == [1, 2]


async def test_a_cancelled_batch_leaves_the_order_of_the_others() -> None:
    reader, writer = os.pipe()
    with printing(writer) as channel:
        first = asyncio.create_task(print_all(channel, messages(3_000), 30))
        second = asyncio.create_task(print_all(channel, messages(3_000, start=3_000), 30))
        third = asyncio.create_task(print_all(channel, messages(10, start=6_000), 30))
        await until(lambda: channel.problem == SLOW)
        second.cancel()
        first.cancel()
        assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], asyncio.CancelledError)
        assert second.cancelled()
        got = await asyncio.to_thread(read_what_is_there, reader)
        assert delivered(await third) == list(range(10))
    os.close(writer)
    got += await asyncio.to_thread(read_what_is_there, reader)
    os.close(reader)
    numbers = printed(got)
    assert numbers[-10:] == list(range(6_000, 6_010))
    assert numbers[:-10] == list(range(len(numbers) - 10))


async def test_what_is_printed_late_says_so_in_the_line_and_in_the_record() -> None:
    reader, writer = os.pipe()
    fill(writer)
    due = utc_now()
    with printing(writer) as channel:
        envelope = Envelope(1, "somebody", "1.", 1, "c-1", due)
        waiting = asyncio.create_task(print_all(channel, [envelope], 30))
        await until(lambda: channel.problem == SLOW)
        freed = utc_now()
        got = await asyncio.to_thread(read_what_is_there, reader)
        [outcome] = await waiting
    assert isinstance(outcome, Delivered)
    at = datetime.fromtimestamp(outcome.at, UTC)
    assert at >= freed
    got += await asyncio.to_thread(read_what_is_there, reader)
    os.close(writer)
    os.close(reader)
    assert got.strip() == plain_line(envelope, at).strip()


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
async def test_a_reader_that_is_gone_is_gone_for_good(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as (reader, writer), printing(writer) as channel:
        waiting = asyncio.create_task(print_all(channel, messages(3_000), 30))
        await until(lambda: channel.problem is not None)
        os.close(reader)
        outcomes = await waiting
        assert 0 < len(delivered(outcomes)) < 3_000
        assert outcomes[-1] is None
        assert channel.problem == READER_GONE
        assert await print_all(channel, messages(2), 5) == [None, None]


async def test_a_terminal_stopped_by_its_user_goes_on_where_it_was() -> None:
    master, slave = pty.openpty()
    kept = bytearray()
    thread = read_slowly(master, kept)
    with printing(slave) as channel:
        assert delivered(await print_all(channel, messages(1), 5)) == [0]
        os.write(master, b"\x13")  # Ctrl-S
        await until(lambda: not select.select([], [slave], [], 0)[1])
        outcomes = await print_all(channel, messages(100, start=1), 0.2)
        assert outcomes == [None] * 100
        await until(lambda: channel.problem == STOPPED)
        os.write(master, b"\x11")  # Ctrl-Q
        await until(lambda: channel.problem is None)
        assert delivered(await print_all(channel, messages(100, start=1), 5)) == list(range(100))
    await until(lambda: len(printed(kept)) == 101)
    os.close(slave)
    await asyncio.to_thread(thread.join)
    os.close(master)
    assert printed(kept) == list(range(101))


async def test_a_full_disk_gives_the_lines_back_and_says_so() -> None:
    writer = os.open("/dev/full", os.O_WRONLY)
    with printing(writer) as channel:
        assert await print_all(channel, messages(500), 5) == [None] * 500
        assert channel.problem == "standard output takes nothing: no space left on device"
        await until(lambda: channel.problem is None)  # to be tried again
    os.close(writer)


async def test_a_file_that_may_grow_again_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        with printing(writer) as channel:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
            outcomes = await print_all(channel, messages(500), 5)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            out = delivered(outcomes)
            torn = outcomes[len(out)]
            assert isinstance(torn, Retry)
            assert torn.maybe_delivered
            assert "file too large" in torn.error
            assert outcomes[len(out) + 1 :] == [None] * (499 - len(out))
            assert delivered(await print_all(channel, messages(2, start=9_000), 5)) == [0, 1]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        os.close(writer)
    assert printed(path.read_bytes()) == [*out, 9_000, 9_001]


OPENS = """
import os, sys
from dispatcher.channels.console_output import open_console
descriptor = open_console()
other = os.open("/", os.O_RDONLY)
with open(sys.argv[1], "w") as told:
    print(descriptor, *(os.readlink(f"/proc/self/fd/{n}") for n in range(3)), other, file=told, sep=chr(10))
    print(all(os.get_inheritable(n) for n in range(3)), file=told)
"""


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("> /dev/zero", "3 /dev/zero"),
        (">&-", "None /dev/null"),
        ("1< /dev/zero", "None /dev/zero"),
        (">&- <&- 2>&-", "None /dev/null"),
    ],
)
def test_a_standard_output_that_is_closed_is_nobody_elses(how: str, expected: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    shell = ["sh", "-c", f'"$@" {how}', "sh", sys.executable, "-c", OPENS, str(told)]
    subprocess.run(shell, check=True, stdin=subprocess.DEVNULL)
    descriptor, _, standard_output, _, other, inherited = told.read_text().splitlines()
    assert f"{descriptor} {standard_output}" == expected
    assert int(other) > 2
    assert inherited == "True", "by the programs that this one starts"


async def test_a_closed_standard_output_is_a_problem_and_no_error() -> None:
    with printing(None) as channel:
        assert channel.problem == "standard output is closed"
        assert await print_all(channel, messages(2), 5) == [None, None]


async def test_nothing_is_begun_when_no_time_is_left() -> None:
    reading, writing = os.pipe()
    channel = ConsoleChannel(ConsoleOutput(writing), line=plain_line, now=utc_now)
    assert await channel.deliver_batch(messages(1), until=elapsed() - 5) == [None]
    channel.close()
    os.close(writing)
    assert os.read(reading, 1000) == b""
    os.close(reading)


async def test_when_it_is_given_up_what_waits_for_room_ends_at_once() -> None:
    reading, writing = os.pipe()
    channel = ConsoleChannel(ConsoleOutput(writing), line=plain_line, now=utc_now)
    many = messages(5000)
    waiting = asyncio.create_task(print_all(channel, many, seconds=600))
    behind = asyncio.create_task(print_all(channel, many, seconds=600))
    await until(lambda: channel.problem is not None)
    channel.give_up()
    first, second = await waiting, await behind
    assert delivered(first) == list(range(len(delivered(first))))
    assert first[-1] is None
    assert set(second) == {None}
    channel.close()
    os.close(writing)
    os.close(reading)


async def test_when_it_is_given_up_what_a_file_has_taken_is_known(tmp_path: Path) -> None:
    path = tmp_path / "out"
    writer = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    with printing(writer) as channel:
        batch = asyncio.create_task(print_all(channel, messages(20_000), 600))
        await until(lambda: path.stat().st_size > 0)
        channel.give_up()
        outcomes = await batch
    os.close(writer)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Retry)]
    assert outcomes[-1] is None, "it was in the middle of it"
    assert printed(path.read_bytes()) == delivered(outcomes)


async def test_a_failed_write_that_was_given_up_has_printed_nothing() -> None:
    writer = os.open("/dev/full", os.O_WRONLY)
    with printing(writer) as channel:
        batch = asyncio.create_task(print_all(channel, messages(5), 600))
        await pause(0)  # the write is under way
        channel.give_up()
        assert await batch == [None] * 5
    os.close(writer)


async def test_of_a_write_that_was_cut_off_while_it_was_given_up_the_torn_line_alone_is_unknown(
    tmp_path: Path,
) -> None:
    path, at, envelopes = tmp_path / "out", utc_now(), messages(3)
    whole, torn, _ = (plain_line(envelope, at) for envelope in envelopes)
    taken = b"\n" + whole + torn[:-1]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    output = ConsoleOutput(writer)
    output.mid_line = True
    with printing(output, now=lambda: at) as channel:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(taken), before[1]))
        try:
            batch = asyncio.create_task(print_all(channel, envelopes, 600))
            await pause(0)  # the write is under way
            channel.give_up()
            first, second, third = await batch
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    os.close(writer)
    assert path.read_bytes() == taken
    assert isinstance(first, Delivered)
    assert isinstance(second, Retry)
    assert second.maybe_delivered
    assert third is None


async def test_a_write_that_was_given_up_still_tears_the_line() -> None:
    with pipe_that_cannot_be_opened_again() as (reader, writer, output):
        fill(writer)
        writing = asyncio.create_task(output.write(b"torn"))
        await pause(0)  # it is under way
        writing.cancel()
        assert isinstance((await asyncio.gather(writing, return_exceptions=True))[0], asyncio.CancelledError)
        room = asyncio.create_task(output.room())
        got = await asyncio.to_thread(read_what_is_there, reader)
        await room
        assert got.endswith(b"\ntorn")
        assert output.mid_line
        output.close()


async def test_while_a_write_does_not_come_back_no_other_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, write = Event(), os.write
    with opened("file", tmp_path) as (_, writer), printing(writer) as channel:

        def hang(descriptor: int, data: bytes) -> int:
            if descriptor == writer:
                goes_on.wait(30)
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", hang)
        (first,) = await print_all(channel, messages(1), 0.1)
        assert isinstance(first, Retry)
        assert first.maybe_delivered
        assert await print_all(channel, messages(1, start=1), 0.1) == [None]
        assert await print_all(channel, messages(1, start=2), 0.1) == [None]
        goes_on.set()
        assert delivered(await print_all(channel, messages(1, start=3), 30)) == [0]
    assert printed((tmp_path / "out").read_bytes()) == [0, 3]


async def test_where_there_is_no_room_no_line_is_made(tmp_path: Path) -> None:
    asked: list[datetime] = []

    def now() -> datetime:
        asked.append(utc_now())
        return asked[-1]

    with opened("pipe", tmp_path) as (_, writer), printing(writer, now=now) as channel:
        fill(writer)
        assert await print_all(channel, messages(1), 0.1) == [None]
    assert asked == []


async def test_a_reader_may_lag_for_half_a_second(tmp_path: Path) -> None:
    with opened("pipe", tmp_path) as (_, writer), printing(writer) as channel:
        fill(writer)
        began = elapsed()
        assert channel.problem is None
        await until(lambda: channel.problem == SLOW)
        assert elapsed() - began > 0.5


async def test_a_console_is_waited_for_also_where_no_more_files_can_be_opened(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with opened("pipe", tmp_path) as (reader, writer), printing(writer) as channel:
        os.close(free := os.dup(writer))
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            batch = asyncio.create_task(print_all(channel, messages(1_000), 600))
            await until(lambda: channel.problem == SLOW)
            got = os.read(reader, 65_536)
            while not batch.done():
                got += await asyncio.to_thread(read_what_is_there, reader)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert delivered(await batch) == list(range(1_000))
        got += await asyncio.to_thread(read_what_is_there, reader)
    assert printed(got) == list(range(1_000))


async def test_writes_that_take_nothing_though_a_poll_says_there_is_room_become_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pipe_that_cannot_be_opened_again() as (_, writer, output), printing(output) as channel:
        write = os.write

        def somebody_is_quicker(descriptor: int, data: bytes) -> int:
            if descriptor == writer:
                raise BlockingIOError
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", somebody_is_quicker)
        batch = asyncio.create_task(print_all(channel, messages(1), 600))
        await until(lambda: channel.problem == SLOW)
        channel.give_up()
        assert await batch == [None]


async def test_without_a_thread_nothing_is_printed_and_it_is_tried_again(tmp_path: Path) -> None:
    with opened("file", tmp_path) as (_, writer), printing(writer) as channel:
        before = stack_size(1 << 46)  # a stack that there is no room for: "can't start new thread"
        try:
            assert await print_all(channel, messages(2), 5) == [None, None]
        finally:
            stack_size(before)
        assert channel.problem == "standard output takes nothing: resource temporarily unavailable"
        assert delivered(await print_all(channel, messages(2), 5)) == [0, 1]
    assert printed((tmp_path / "out").read_bytes()) == [0, 1]
