"""Listener: one socket as the hub sees it, with what waits for it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.chat.live import codes
from dispatcher.chat.live.codes import Code
from dispatcher.chat.live.outbox import MAX_CHARACTERS, MAX_FRAMES, Outbox

MAX_HELD = 2 * MAX_FRAMES
"""Frames that wait, over all conversations, until those in front of them have been fetched."""
MAX_HELD_CHARACTERS = 2 * MAX_CHARACTERS


@dataclass(slots=True, eq=False)
class Held:
    """Of a conversation that is being caught up with: what was passed on meanwhile, in its order."""

    frames: list[tuple[bool, int, str]]
    size: int = 0
    """Characters of these."""


class Listener:
    """Where to put what one socket is to be told."""

    __slots__ = (
        "_drained",
        "_held",
        "_held_count",
        "_held_size",
        "_wake",
        "ending",
        "outbox",
        "start",
        "user_id",
        "watching",
    )

    def __init__(
        self,
        user_id: str,
        *,
        wake: Callable[[], None],
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """One user's.

        Args:
            user_id: Whose.
            wake: Called whenever something waits, or the socket is to be closed: then `ending` is set.
            start: Lets something go on, no longer than the socket.
        """
        self.user_id, self._wake, self.start = user_id, wake, start
        self.outbox = Outbox()
        self.ending: Code | None = None
        """Why the socket is to be closed."""
        self.watching: Sequence[str] = ()
        """Users of whom it hears whether they are there."""
        self._held: dict[int, Held] | None = None
        self._held_count = self._held_size = 0
        self._drained: asyncio.Event | None = None

    async def room(self) -> None:
        """Wait until the outbox is at most half full."""
        while self.outbox.crowded:
            if self._drained is None:
                self._drained = asyncio.Event()
            self._drained.clear()
            await self._drained.wait()

    def taken(self) -> None:
        """Something was taken from the outbox."""
        if self._drained is not None:
            self._drained.set()

    def frame(self, frame: str) -> None:
        """A frame that must arrive."""
        if not self.outbox.put(frame):
            self.end(codes.SLOW)
        self._wake()

    def of_stream(self, conversation_id: int, frame: str, *, number: int, is_change: bool) -> None:
        """A message or a change of a conversation, in its turn."""
        held = self._held.get(conversation_id) if self._held else None
        if held is None:
            self.frame(frame)
            return
        held.frames.append((is_change, number, frame))
        held.size += len(frame)
        self._held_count += 1
        self._held_size += len(frame)
        if self._held_count > MAX_HELD or self._held_size > MAX_HELD_CHARACTERS:
            self.end(codes.SLOW)

    def receipt(self, conversation_id: int, user_id: str, marks: tuple[int, int]) -> None:
        """How far a member has received and read."""
        if not self.outbox.receipt(conversation_id, user_id, marks):
            self.end(codes.SLOW)
        self._wake()

    def passing(self, key: Hashable, frame: str) -> None:
        """A frame that may be lost."""
        self.outbox.passing(key, frame)
        self._wake()

    def end(self, why: Code) -> None:
        """The socket is to be closed."""
        self.ending = self.ending or why
        self._wake()

    def hold(self, conversation_id: int) -> Held:
        """Keep what the conversation passes on from now until `let_go`, and nothing of what was held of it before."""
        self.forget(conversation_id)
        if self._held is None:
            self._held = {}
        held = self._held[conversation_id] = Held([])
        return held

    def holds(self, conversation_id: int, held: Held) -> bool:
        """Whether this is held still: no longer when the user has left, also when they have come again since."""
        return self._held is not None and self._held.get(conversation_id) is held

    def forget(self, conversation_id: int) -> None:
        """The user is no longer in the conversation: what was held of it is not for them."""
        self._take(conversation_id)

    def let_go(self, conversation_id: int, *, seq: int, change: int) -> None:
        """The socket has the conversation up to these: what was passed on behind them follows."""
        for is_change, number, frame in self._take(conversation_id):
            if number > (change if is_change else seq):
                self.frame(frame)

    def _take(self, conversation_id: int) -> Sequence[tuple[bool, int, str]]:
        held = self._held.pop(conversation_id, None) if self._held else None
        if not self._held:
            self._held = None
        if held is None:
            return ()
        self._held_count -= len(held.frames)
        self._held_size -= held.size
        return held.frames
