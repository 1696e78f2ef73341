"""Marking: how far clients say they have received and read, gathered and written together.

Receipts are not in a hurry: what comes within MARK_SECONDS is one statement, and of one member only the furthest counts.
"""

import asyncio

import structlog

from dispatcher.chat.happened import Tell
from dispatcher.chat.live import frames
from dispatcher.chat.live.listener import Listener
from dispatcher.chat.mark import Mark, Marks, TooHigh, happened, mark
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import TROUBLE, Pool
from dispatcher.kernel.errors import DispatcherError, InvalidRequestError, NotFoundError, UnavailableError

log = structlog.get_logger()

MARK_SECONDS = 0.1
RETRY_SECONDS = 0.5
BATCH = 500
MAX_WAITING = 50_000


class Marking:
    """Writes marks."""

    def __init__(self, pool: Pool, tell: Tell) -> None:
        self._pool, self._tell = pool, tell
        self._waiting: dict[tuple[int, str], tuple[int, int, Listener]] = {}
        self._filled = asyncio.Event()

    def want(self, listener: Listener, conversation_id: int, *, delivered: int = 0, read: int = 0) -> None:
        """This socket's user has received, or read, that far."""
        key = conversation_id, listener.user_id
        if key not in self._waiting and len(self._waiting) >= MAX_WAITING:
            refusal = UnavailableError("too many receipts wait to be written; send it again later")
            listener.frame(frames.error(None, refusal))
            return
        old = self._waiting.get(key)
        if old is not None:
            delivered, read = max(delivered, old[0]), max(read, old[1])
        self._waiting[key] = delivered, read, listener
        self._filled.set()

    async def run(self) -> None:
        """Write what is wanted, forever."""
        while True:
            await self._filled.wait()
            await pause(MARK_SECONDS)
            self._filled.clear()
            waiting, self._waiting = self._waiting, {}
            items = list(waiting.items())
            for first in range(0, len(items), BATCH):
                batch = items[first : first + BATCH]
                try:
                    await self._write(batch)
                except TROUBLE as error:
                    log.warning(
                        "chat_marks_unwritten", marks=len(batch), error=str(error) or type(error).__name__
                    )
                    for (conversation_id, _), (delivered, read, listener) in batch:
                        self.want(listener, conversation_id, delivered=delivered, read=read)
                    await pause(RETRY_SECONDS)

    async def _write(self, batch: list[tuple[tuple[int, str], tuple[int, int, Listener]]]) -> None:
        marks = [
            Mark(conversation_id, user_id, delivered=delivered, read=read or None)
            for (conversation_id, user_id), (delivered, read, _) in batch
        ]
        outcomes = await mark(self._pool, marks)
        for one, outcome, (_, (_, _, listener)) in zip(marks, outcomes, batch, strict=True):
            refusal: DispatcherError
            if isinstance(outcome, Marks):
                if outcome.moved:
                    self._tell(happened(one, outcome))
                continue
            if isinstance(outcome, TooHigh):
                refusal = InvalidRequestError(
                    f"seq: the latest message of conversation {one.conversation_id} is {outcome.last_seq}"
                )
            else:
                refusal = NotFoundError(f"there is no conversation {one.conversation_id}")
            listener.frame(frames.error(None, refusal))
