"""Outgoing: what is to be said over the socket, across all connections that a client has in its life.

A message keeps its `client_id` and is said again on every new connection until it is answered: the service knows it by that
id, so it is one message. Of receipts the furthest counts; what passes (typing) is dropped with the connection.
"""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.client.errors import RefusedError
from dispatcher.client.models import Message
from dispatcher.kernel.backoff import delay

MAX_WAITING = 256
"""Messages that wait for their answer; whoever sends more waits for one of those."""
MAX_PASSING = 64
BASE_SECONDS = 0.2
CAP_SECONDS = 10.0
_NOTHING = (0, 0)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A message that is not answered yet."""

    number: int
    fields: Mapping[str, Any]
    answer: asyncio.Future[Message]
    said: bool = False
    failures: int = 0


class Outgoing:
    """What one client has to say."""

    def __init__(self, marks_of: Callable[[int], tuple[int, int]]) -> None:
        """`marks_of` says how far a conversation was received and read."""
        self.wake = asyncio.Event()
        """Set when there is something to say."""
        self._marks_of = marks_of
        self._waiting: dict[int, _Waiting] = {}
        self._passing: deque[Mapping[str, Any]] = deque(maxlen=MAX_PASSING)
        self._marked: dict[int, None] = {}
        self._said: dict[int, None] = {}
        """Conversations whose receipts were said over this connection."""
        self._idle = asyncio.Event()
        self._numbers = itertools.count(1)
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._end: Exception | None = None

    async def send(self, fields: Mapping[str, Any]) -> Message:
        """Say it until it is answered; the message as the service has it.

        Raises:
            RefusedError: The service does not want it.
            ClosedError: The client was closed before there was an answer.
        """
        async with self._room:
            if self._end is not None:
                raise self._end
            answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            one = _Waiting(next(self._numbers), fields, answer)
            self._waiting[one.number] = one
            self.wake.set()
            try:
                return await answer
            finally:
                del self._waiting[one.number]

    def passing(self, **fields: Any) -> None:
        """Say it now, or never."""
        self._passing.append(fields)
        self._idle.clear()
        self.wake.set()

    def mark(self, conversation_id: int) -> None:
        """Say how far this conversation was received and read."""
        self._marked[conversation_id] = None
        self._idle.clear()
        self.wake.set()

    async def said(self) -> None:
        """Wait until there is nothing to say but what waits for its answer."""
        await self._idle.wait()

    @property
    def ended(self) -> Exception | None:
        """Why nothing more can be said."""
        return self._end

    def connected(self, has: Mapping[int, tuple[int, int]]) -> None:
        """A new connection: whatever has no answer is said again, in its order.

        So are receipts, which have none, but for those that the service has, by conversation.
        """
        for one in self._waiting.values():
            one.said = False
        said, self._said = self._said, {}
        for conversation_id in said:
            delivered, read = self._marks_of(conversation_id)
            if (known := has.get(conversation_id, _NOTHING))[0] < delivered or known[1] < read:
                self._marked[conversation_id] = None
        self.wake.set()

    def disconnected(self) -> None:
        """What would be old on the next one is dropped."""
        self._passing.clear()

    def take(self) -> str | None:
        """The next frame; None when there is nothing more to say."""
        for one in self._waiting.values():
            if not one.said:
                one.said = True
                return json.dumps({"type": "send", "id": one.number, **one.fields})
        if self._marked:
            conversation_id = next(iter(self._marked))
            del self._marked[conversation_id]
            self._said[conversation_id] = None
            delivered, read = self._marks_of(conversation_id)
            type_, seq = ("read", read) if read >= delivered else ("ack", delivered)
            if read and type_ == "ack":
                self._passing.appendleft({"type": "read", "conversation_id": conversation_id, "seq": read})
            return json.dumps({"type": type_, "conversation_id": conversation_id, "seq": seq})
        if self._passing:
            return json.dumps(self._passing.popleft())
        self._idle.set()
        return None

    def answered(self, number: int, message: Message) -> None:
        """The service has it."""
        one = self._waiting.get(number)
        if one is not None and not one.answer.done():
            one.answer.set_result(message)

    def refused(self, number: int, error: RefusedError, *, again_in: float | None) -> None:
        """The service has refused it; for now only, when it is to be said again after that many seconds."""
        one = self._waiting.get(number)
        if one is None or one.answer.done():
            return
        if again_in is None:
            one.answer.set_exception(error)
            return
        one.failures += 1
        pause = delay(one.failures, base=BASE_SECONDS, cap=CAP_SECONDS, at_least=again_in)
        asyncio.get_running_loop().call_later(pause, self._say_again, one)

    def end(self, error: Exception) -> None:
        """Nothing more can be said."""
        self._end = error
        for one in self._waiting.values():
            if not one.answer.done():
                one.answer.set_exception(error)

    def _say_again(self, one: _Waiting) -> None:
        one.said = False
        self.wake.set()
