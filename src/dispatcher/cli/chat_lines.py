"""The room line by line, for pipes, files and terminals that can do no more: what begins with · is no message."""

import asyncio
import io
import sys
import threading
from collections.abc import Sequence

from dispatcher.cli.chat_room import Room
from dispatcher.cli.chat_talk import DELIVERED, READ, TICKS, Talk
from dispatcher.client import Message
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.harmless import harmless

MAX_READ = 100
"""Lines of the input that were read ahead."""
DELETED = "(deleted)"


class Lines:
    """Prints each message once, in one line, and a line whenever more of the user's own were received or read."""

    reads = False

    def __init__(self) -> None:
        self._talk: Talk | None = None
        self._told: dict[int, int] = {}
        """By status: the newest of the user's own messages that is said to be that far."""
        self._writing: set[str] = set()
        self._online: dict[str, bool] = {}

    async def run(self, room: Room) -> None:
        """Until the end of the input, and of what it said, or /quit."""
        self._talk = room.talk
        for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
            if isinstance(
                stream, io.TextIOWrapper
            ):  # what is no UTF-8, or none that the terminal has, ends nothing
                stream.reconfigure(errors=errors)
        await room.attend(self._read(room))

    def message(self, message: Message) -> None:
        """A line."""
        assert self._talk is not None
        mine = message.sender_id == self._talk.me
        if mine:
            self._tell_ticks(self._talk, aloud=False)
        self._say(f"{_line(message)}{f'  {TICKS[self._talk.status(message)]}' if mine else ''}")

    def changed(self, message: Message) -> None:
        """A line that says what it is now."""
        self._say(f"· changed: {_line(message)}")

    def older(self, messages: Sequence[Message]) -> None:
        """Lines, out of turn."""
        for message in messages:
            self._say(f"· earlier: {_line(message)}")

    def redraw(self) -> None:
        """Lines of what is different."""
        talk = self._talk
        assert talk is not None
        self._tell_ticks(talk)
        for who, there in talk.online.items():
            if self._online.get(who) is not there:
                self._say(f"· {who} is {'here' if there else 'away'}")
        self._online = dict(talk.online)
        writing = set(talk.typing(elapsed()))
        for who in sorted(writing - self._writing):
            self._say(f"· {who} is writing")
        self._writing = writing

    def note(self, text: str) -> None:
        """A line."""
        self._say(f"· {harmless(text)}")

    def _tell_ticks(self, talk: Talk, *, aloud: bool = True) -> None:
        """Of two that are new the one that says more."""
        for status, word in ((READ, "read"), (DELIVERED, "delivered")):
            newest = talk.newest(status)
            if newest is None or newest.seq <= self._told.get(status, 0):
                continue
            if aloud and newest.seq > self._told.get(READ, 0):
                self._say(f"· {TICKS[DELIVERED]} {word}: {harmless(newest.content)}")
            self._told[status] = newest.seq

    def _say(self, line: str) -> None:
        print(line, flush=True)

    async def _read(self, room: Room) -> None:
        lines: asyncio.Queue[str] = asyncio.Queue()
        room_ahead = threading.Semaphore(MAX_READ)
        loop = asyncio.get_running_loop()

        def read() -> None:
            # A thread of our own: one of the loop's would be waited for at the end, and with it the next line.
            for line in iter(sys.stdin.readline, "") if sys.stdin is not None else ():  # None: it was closed
                room_ahead.acquire()
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "")

        threading.Thread(target=read, daemon=True).start()
        while line := await lines.get():
            room_ahead.release()
            await room.wrote(line.rstrip("\r\n"))
        await room.everything_sent()


def _line(message: Message) -> str:
    content = DELETED if message.deleted_at else harmless(message.content)
    return f"{message.timestamp.astimezone():%Y-%m-%d %H:%M:%S} {message.sender_id}: {content}"
