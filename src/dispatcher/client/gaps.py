"""Gaps: fetches over REST what the socket does not bring, and passes it on in its place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from dispatcher.client.api import ChatApi
from dispatcher.client.errors import RefusedError, UnreachableError
from dispatcher.client.events import Arrived, Changed, Outdated
from dispatcher.client.mailbox import Mailbox
from dispatcher.client.models import Conversation, Message
from dispatcher.client.track import Track
from dispatcher.kernel.backoff import delay
from dispatcher.kernel.clock import pause

BASE_SECONDS = 0.2
CAP_SECONDS = 10.0
_NOT_THEIRS: Final = {403, 404}
"""How the service answers for what is no longer one of this user's conversations."""


class Gaps:
    """Fills the gaps of all conversations, one after the other."""

    def __init__(self, api: ChatApi, mailbox: Mailbox) -> None:
        self._api, self._mailbox = api, mailbox
        self._wanted: dict[int, Track] = {}
        self._look: tuple[Callable[[Conversation], None], Callable[[], None]] | None = None
        self._filled = asyncio.Event()

    def want(self, conversation_id: int, track: Track) -> None:
        """Something is missing there."""
        self._wanted[conversation_id] = track
        self._filled.set()

    def forget(self, conversation_id: int) -> None:
        """Nothing of it is wanted any longer."""
        self._wanted.pop(conversation_id, None)

    def look(self, stands: Callable[[Conversation], None], then: Callable[[], None]) -> None:
        """Call the first for every conversation of the user, then the second."""
        self._look = stands, then
        self._filled.set()

    async def run(self) -> None:
        """Fill gaps, forever."""
        failures = 0
        while True:
            await self._filled.wait()
            self._filled.clear()
            try:
                if (look := self._look) is not None:
                    async for conversation in self._api.conversations():
                        look[0](conversation)
                    if self._look is look:
                        self._look = None
                        look[1]()
                for conversation_id, track in list(self._wanted.items()):
                    await self._fill(conversation_id, track)
                failures = 0
            except UnreachableError:
                failures += 1
                self._filled.set()
                await pause(delay(failures, base=BASE_SECONDS, cap=CAP_SECONDS))

    async def _fill(self, conversation_id: int, track: Track) -> None:
        try:
            while track.missing and self._wanted.get(conversation_id) is track:
                before, known = track.seq, track.known
                async for message in self._behind(conversation_id, track):
                    await self._mailbox.room()
                    if message.seq > track.seq:
                        track.passed(message)
                        self._mailbox.put(Arrived(message))
                if track.seq == before:
                    track.gone(known)
        except RefusedError as error:
            if error.status not in _NOT_THEIRS:  # a token that is over: another client goes on from here
                raise
            track.gone(track.known)
        if self._wanted.get(conversation_id) is track:
            del self._wanted[conversation_id]
            self.settle(conversation_id, track)

    def settle(self, conversation_id: int, track: Track) -> None:
        """Pass on the changes that have waited. Nothing is awaited: what comes later stays behind them."""
        changes, lost = track.held()
        for change, message in changes:
            self._mailbox.put(Changed(message, change))
        if lost:
            self._mailbox.put(Outdated(conversation_id))

    async def _behind(self, conversation_id: int, track: Track) -> AsyncIterator[Message]:
        if track.id == 0 and track.seq > 0:
            track.id = await self._place(conversation_id, track.seq)
        async for message in self._api.newer(conversation_id, after=track.id):
            yield message

    async def _place(self, conversation_id: int, seq: int) -> int:
        """An id that is before all messages behind `seq`, and behind all others."""
        place: int | None = None
        while True:
            page = await self._api.page(conversation_id, before=place)
            first = next((one for one in page.messages if one.seq > seq), None)
            place = page.older
            if first is None:
                return page.messages[-1].id if page.messages else 0
            if place is None or page.messages[0].seq <= seq:
                return first.id - 1
