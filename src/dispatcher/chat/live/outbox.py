"""Outbox: what waits to go over one socket, bounded. Pure.

What must arrive keeps its order. Receipts are merged: the latest counts. What passes (typing, presence) is dropped first.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable

MAX_FRAMES = 2048
MAX_CHARACTERS = 1024 * 1024
"""Of all frames; bytes would have to be counted by encoding each frame for each socket."""
MAX_RECEIPTS = 4096
"""Members whose receipts wait."""
MAX_PASSING = 64
AT_ONCE = 64
"""Frames between two looks at whether the rest of the program wants to run."""

Receipts = Callable[[int, Iterable[tuple[str, int, int]]], str]


class Outbox:
    """Frames of one socket. Empty, it costs next to nothing."""

    __slots__ = ("_frames", "_passing", "_receipts", "size")

    def __init__(self) -> None:
        self._frames: deque[str] | None = None
        self._receipts: dict[int, dict[str, tuple[int, int]]] | None = None
        self._passing: dict[Hashable, str] | None = None
        self.size = 0
        """Characters of the frames that must arrive."""

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._frames or self._receipts or self._passing)

    @property
    def crowded(self) -> bool:
        """Whether it is more than half full."""
        return self.size > MAX_CHARACTERS // 2 or len(self._frames or ()) > MAX_FRAMES // 2

    def put(self, frame: str) -> bool:
        """A frame that must arrive. False when there is no room: the socket is to be closed, it has a hole now."""
        if self._frames is None:
            self._frames = deque()
        if len(self._frames) >= MAX_FRAMES or self.size + len(frame) > MAX_CHARACTERS:
            return False
        self._frames.append(frame)
        self.size += len(frame)
        return True

    def receipt(self, conversation_id: int, user_id: str, marks: tuple[int, int]) -> bool:
        """How far a member is; takes the place of what waits for the same one. False when there is no room."""
        if self._receipts is None:
            self._receipts = {}
        of = self._receipts.setdefault(conversation_id, {})
        if user_id not in of and sum(map(len, self._receipts.values())) >= MAX_RECEIPTS:
            return False
        of[user_id] = marks
        return True

    def passing(self, key: Hashable, frame: str) -> None:
        """A frame that may be lost; takes the place of what waits under the same key."""
        if self._frames and len(self._frames) > AT_ONCE:
            return  # the socket is slow: this would be old when it arrives
        if self._passing is None:
            self._passing = {}
        if key in self._passing or len(self._passing) < MAX_PASSING:
            self._passing[key] = frame

    def take(self, receipts: Receipts) -> list[str]:
        """The next frames to go, at most AT_ONCE of those that must arrive, the others behind the last of them."""
        taken: list[str] = []
        frames = self._frames
        while frames and len(taken) < AT_ONCE:
            frame = frames.popleft()
            self.size -= len(frame)
            taken.append(frame)
        if frames:
            return taken
        self._frames = None  # an idle socket keeps nothing
        for conversation_id, marks in (self._receipts or {}).items():
            taken.append(receipts(conversation_id, [(who, *both) for who, both in marks.items()]))
        taken += (self._passing or {}).values()
        self._receipts = self._passing = None
        return taken
