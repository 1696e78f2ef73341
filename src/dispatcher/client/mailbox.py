"""Mailbox: events between the connection and the application, bounded: who reads slowly slows the connection down."""

import asyncio
from collections import deque

from dispatcher.client.events import Event, Presence, Typing

MAX_EVENTS = 1000
"""Events that wait for the application. Then the socket is no longer read; what passes is dropped from half of it on."""


class Mailbox:
    """Events in their order."""

    def __init__(self, limit: int = MAX_EVENTS) -> None:
        self._events: deque[Event] = deque()
        self._limit = limit
        self._changed = asyncio.Event()
        self._end: Exception | None = None

    async def room(self) -> None:
        """Wait until there is room; what is put in without anything awaited in between finds it."""
        while len(self._events) >= self._limit and self._end is None:
            await self._change()

    def put(self, event: Event) -> None:
        """Behind all others. What may be lost is when many wait: it would be old."""
        if isinstance(event, Typing | Presence) and len(self._events) > self._limit // 2:
            return
        self._events.append(event)
        self._changed.set()

    async def take(self) -> Event:
        """The next event.

        Raises:
            Exception: That which the mailbox was ended with, once it is empty.
        """
        while not self._events:
            if self._end is not None:
                raise self._end
            await self._change()
        event = self._events.popleft()
        self._changed.set()
        return event

    def end(self, error: Exception) -> None:
        """Nothing more will come."""
        self._end = self._end or error
        self._changed.set()

    async def _change(self) -> None:
        # Every waiter looks again after every change; an event that was set is new to each of them.
        changed = self._changed
        if changed.is_set():
            changed = self._changed = asyncio.Event()
        await changed.wait()
