"""Room: a conversation that is going on, with the user in it: what they write and where it goes."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Self
from uuid import uuid4

from dispatcher.cli.chat_hearing import Face, Hearing
from dispatcher.cli.chat_talk import Talk, Unsent
from dispatcher.client import ChatClient, ChatError, RefusedError
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.errors import UnavailableError
from dispatcher.kernel.harmless import harmless

HELP = "/history: older messages   /read: mark as read   /quit: leave   /help: this"
MAX_WRITTEN = 100
"""Lines that wait to be sent."""
TYPING_EVERY_SECONDS = 4.0
FAREWELL_SECONDS = 3.0
HISTORY = 20
"""Messages that /history brings."""


class Room:
    """One conversation, with somebody in it."""

    def __init__(self, client: ChatClient, talk: Talk, to: str | int, face: Face, *, reads: bool) -> None:
        self.talk = talk
        self.left = asyncio.Event()
        """The user has left."""
        self.hearing = Hearing(client, talk, to, face, reads=reads)
        self._client, self._to, self._face = client, to, face
        self._written: asyncio.Queue[Unsent] = asyncio.Queue(MAX_WRITTEN)
        self._typed = -TYPING_EVERY_SECONDS
        self._more = True
        self._sent_seq = 0
        self._heard = asyncio.Event()

    @classmethod
    async def enter(
        cls, client: ChatClient, me: str, to: str | int, face: Face, *, shown: int, reads: bool
    ) -> Self:
        """The room, with the last messages in it. What has happened since waits in the client."""
        others = [to] if isinstance(to, str) else []
        talk = Talk(me, to, others=others)
        if isinstance(to, int):
            talk.received(
                {one.user_id: (one.delivered_seq, one.read_seq) for one in await client.api.members(to)}
            )
        room = cls(client, talk, to, face, reads=reads)
        page = await client.api.page(to, limit=max(1, shown))
        for message in page.messages if shown else ():
            talk.arrived(message)
        if page.messages:
            talk.conversation_id = page.messages[0].conversation_id
        room._more = page.older is not None
        return room

    async def wrote(self, line: str) -> None:
        """The user has written a line: a message, or a command."""
        if line.startswith("/") and not line.startswith("//"):
            await self._command(line.split())
        elif text := line.removeprefix("/").strip() if line.startswith("//") else line.strip():
            one = Unsent(uuid4().hex, text)
            self.talk.unsent[one.client_id] = one
            await self._written.put(one)
            self._face.redraw()

    def typed(self) -> None:
        """The user is writing."""
        if self.talk.conversation_id is not None and elapsed() - self._typed >= TYPING_EVERY_SECONDS:
            self._typed = elapsed()
            self._client.typing(self.talk.conversation_id)

    @property
    def unsent(self) -> str:
        """What was written and the service has not said that it has."""
        return "; ".join(harmless(one.content) for one in self.talk.unsent.values() if not one.problem)

    async def everything_sent(self) -> None:
        """Wait until the service has what was written, and it is shown as far as that comes soon."""
        await self._written.join()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                while self.talk.last_seq < self._sent_seq:
                    self._heard.clear()
                    await self._heard.wait()

    async def attend(self, until: Coroutine[None, None, None]) -> None:
        """Be in the room until this has ended, or the user has left.

        Raises:
            UnavailableError: They left, and not everything that they wrote could be sent.
            ClosedError: The service does not want them there any longer.
        """
        tasks = [asyncio.create_task(one) for one in (self._listen(), self._speak(), self._leave(), until)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self) -> None:
        await self.left.wait()
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self.everything_sent()
        except TimeoutError:
            raise UnavailableError(f"the service does not answer; not sent: {self.unsent}") from None

    async def _listen(self) -> None:
        """Show what happens, until the client is closed."""
        self.hearing.begin()
        async for event in self._client.events():
            self.hearing.happened(event)
            self._heard.set()

    async def _speak(self) -> None:
        """Send what was written, in its order, forever."""
        while True:
            one = await self._written.get()
            try:
                sent = await self._client.send(one.content, to=self._to, client_id=one.client_id)
                self._sent_seq = sent.seq
            except RefusedError as error:
                one.problem = error.detail
                self._face.note(f"not sent: {error.detail}")
                self._face.redraw()
            finally:
                self._written.task_done()

    async def _command(self, words: list[str]) -> None:
        match words[0]:
            case "/quit" | "/q" | "/exit":
                self.left.set()
            case "/read":
                self.hearing.read()
            case "/history":
                await self._history()
            case "/help" | "/?":
                self._face.note(HELP)
            case other:
                self._face.note(f"{harmless(other)} is no command. {HELP}")

    async def _history(self) -> None:
        if not self._more:
            self._face.note("that is all there is")
            return
        try:
            page = await self._client.api.page(self._to, before=self.talk.oldest, limit=HISTORY)
        except ChatError as error:
            self._face.note(str(error))
            return
        self.talk.older(page.messages)
        self._more = page.older is not None
        self._face.older(page.messages)
