"""The console channel: a line for each message, in order, printed when the operating system has taken it whole."""

import asyncio
import select
from collections.abc import Callable, Sequence
from datetime import datetime

from dispatcher.channels.console_line import Line
from dispatcher.channels.console_output import ConsoleOutput
from dispatcher.channels.contract import Delivered, Envelope, Outcome, Retry
from dispatcher.kernel.clock import elapsed, pause

CHUNK_BYTES = select.PIPE_BUF
"""A pipe takes so much whole or not at all, and never mixes it with what others write."""
NO_SPIN_SECONDS = 0.01
TURN_SECONDS = 0.002
"""For so long lines go out before others of the event loop get their turn."""

END_SECONDS = 0.25
"""For so long a write that was given up may still end, so that what it took is known: less than settling needs."""

_TORN = "the line was begun, and its end did not go out"
_UNKNOWN = Retry(_TORN, maybe_delivered=True)


class ConsoleChannel:
    """Prints. Several batches may be given at once: one is printed after the other."""

    def __init__(self, output: ConsoleOutput, *, line: Line, now: Callable[[], datetime]) -> None:
        """`now` is asked right before lines go out: it is the moment they name and are recorded as printed at."""
        self._output = output
        self._line = line
        self._now = now
        self._turn = asyncio.Lock()
        self._deadlines: set[asyncio.Timeout] = set()
        self._given_up = False

    @property
    def problem(self) -> str | None:
        """Why nothing can be printed at the moment, for people."""
        return self._output.problem

    async def deliver_batch(self, envelopes: Sequence[Envelope], *, until: float) -> Sequence[Outcome | None]:
        """Print these, in this order; None for what has not begun to be printed at that moment, or cannot be.

        A cancellation ends it wherever it is: a line that was begun is ended before the next one.
        """
        outcomes: list[Outcome | None] = [None] * len(envelopes)
        deadline = asyncio.timeout(0 if self._given_up else until - elapsed())
        self._deadlines.add(deadline)
        try:
            async with deadline, self._turn:
                await self._print(envelopes, outcomes, until)
        except TimeoutError:
            pass
        finally:
            self._deadlines.discard(deadline)
        return outcomes

    def give_up(self) -> None:
        """Let batches end now that wait for room or for their turn; what has room is still printed."""
        self._given_up = True
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(now)

    def close(self) -> None:
        """Wait for nothing. No `deliver_batch` is under way when this is called."""
        self._output.close()

    async def _print(
        self, envelopes: Sequence[Envelope], outcomes: list[Outcome | None], until: float
    ) -> None:
        place, began = 0, elapsed()
        while place < len(envelopes):
            await self._output.room()
            # The loop's own deadline is only seen by what waits, and its clock stands still in a suspended machine.
            if elapsed() >= until:
                return
            printed = await self._print_some(envelopes, place, outcomes)
            if printed is None:
                return
            place += printed
            if not printed:  # no room after all: somebody else has filled it
                await pause(NO_SPIN_SECONDS)
            elif place < len(envelopes) and elapsed() - began > TURN_SECONDS:
                await pause(0)  # others get their turn, and the deadline its chance
                began = elapsed()

    async def _print_some(
        self, envelopes: Sequence[Envelope], place: int, outcomes: list[Outcome | None]
    ) -> int | None:
        """Print as many lines as go in one write; how many that were. None when nothing can be printed any more."""
        at = self._now()
        lines = self._lines(envelopes, place, at)
        started = b"\n" if self._output.mid_line else b""  # ends a line that an earlier batch could not
        try:
            taken = await self._output.write(started + b"".join(lines))
        except asyncio.CancelledError:  # a thread goes on writing; a disk's write ends soon, as a rule
            outcomes[place : place + len(lines)] = [_UNKNOWN] * len(lines)
            ended = await self._output.came_back(END_SECONDS)
            if ended is not None:
                _record(outcomes, place, lines, ended - len(started), at)
            raise
        except OSError:
            return None
        whole, rest = _record(outcomes, place, lines, taken - len(started), at)
        if not rest:
            return whole
        outcomes[place + whole] = await self._end_line(memoryview(lines[whole])[rest:], at)
        return whole + 1

    def _lines(self, envelopes: Sequence[Envelope], place: int, at: datetime) -> list[bytes]:
        lines: list[bytes] = []
        size = 1  # a line that was torn may have to be ended first
        for number in range(place, len(envelopes)):
            line = self._line(envelopes[number], at)
            size += len(line)
            if lines and size > CHUNK_BYTES:
                break
            lines.append(line)
        return lines

    async def _end_line(self, rest: memoryview, at: datetime) -> Outcome:
        """Write the rest of a line that is partly out."""
        while rest:
            await self._output.room()
            try:
                taken = await self._output.write(rest)
            except OSError:
                return Retry(f"{_TORN}: {self._output.problem}", maybe_delivered=True)
            rest = rest[taken:]
            if rest:
                await pause(0 if taken else NO_SPIN_SECONDS)
        return Delivered(at.timestamp())


def _record(
    outcomes: list[Outcome | None], place: int, lines: Sequence[bytes], taken: int, at: datetime
) -> tuple[int, int]:
    """Tell what a write has taken from its outcomes; how many whole lines, and how much of the one after them."""
    for number, line in enumerate(lines):
        if taken < len(line):
            torn = max(0, taken)
            outcomes[place + number : place + len(lines)] = [None] * (len(lines) - number)
            outcomes[place + number] = _UNKNOWN if torn else None
            return number, torn
        outcomes[place + number] = Delivered(at.timestamp())
        taken -= len(line)
    return len(lines), 0
