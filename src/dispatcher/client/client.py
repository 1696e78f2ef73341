"""ChatClient: one user's connection to the service, for as long as it is wanted."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import uuid4

from dispatcher.client.api import ChatApi, Talk
from dispatcher.client.arrivals import Arrivals
from dispatcher.client.errors import ClosedError, RefusedError, UnreachableError
from dispatcher.client.events import Disconnected, Event
from dispatcher.client.gaps import Gaps
from dispatcher.client.http import Http
from dispatcher.client.link import Account, Link
from dispatcher.client.mailbox import Mailbox
from dispatcher.client.models import Message, Position
from dispatcher.client.outgoing import Outgoing
from dispatcher.client.token import TokenKeeper, TokenSource
from dispatcher.kernel.backoff import delay
from dispatcher.kernel.clock import pause

BASE_SECONDS = 0.2
CAP_SECONDS = 10.0
CAP_AFTER_HELLO_SECONDS = 2.0
STEADY_SECONDS = 2.0
"""A connection that lasted so long was a good one: the next pause is a short one again."""
MAX_CONTENT = 4096
"""Characters of a message."""
PATIENCE_SECONDS = 10.0
FAREWELL_SECONDS = 1.0
_CLOSED = "the client is closed"


class ChatClient:
    """Sends, and yields what happens, across as many connections as it takes.

        async with ChatClient("http://localhost:8080", token=token) as chat:
            await chat.send("Hello Bob", to="bob")
            async for event in chat.events():
                match event:
                    case Arrived(message):
                        print(message.sender_id, message.content)

    Every message of every conversation arrives once, in the order of its `seq`, without a gap, whatever happens to the
    connection. It is acknowledged as delivered when the application takes it. The application has to go on taking
    events: when a thousand wait, the socket is read no further, and then answers to `send` wait too.
    """

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource | None = None,
        user_id: str | None = None,
        api_key: str | None = None,
        positions: Mapping[int, Position] | None = None,
        tls: ssl.SSLContext | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Nothing is connected until the block is entered.

        Args:
            url: Of the service, e.g. `https://chat.example.com`.
            token: The user's token, or what fetches one, a function that may be async: it is called before the token
                ends and when the service refuses it, so that the client outlives tokens. It may raise UnreachableError or
                OSError, and is then called again later; anything else ends the client, and is raised by `events` and `send`.
            user_id: For the operator, who acts for somebody: with `api_key`, or where the service asks for no proof.
            api_key: The operator's key.
            positions: Where an earlier client had come to, its `positions`; everything behind them arrives, and all
                of what conversations have begun since. None: only what is sent from now on.
            tls: For certificates that are not public.
            patience: Seconds for the first connection; later ones are tried for as long as it takes.
        """
        if user_id is not None and token is not None:
            raise ValueError("say one of token and user_id: a token says whose it is")
        url = url.rstrip("/")
        keeper = TokenKeeper(token)
        self._http = Http(
            url, token=keeper, user_id=user_id, api_key=api_key, tls=True if tls is None else tls
        )
        self.api = ChatApi(self._http)
        """What is asked rather than listened to: history, conversations, groups, users."""
        self._mailbox = Mailbox()
        self._gaps = Gaps(self.api, self._mailbox)
        self._arrivals = Arrivals(self._mailbox, self._gaps, positions)
        self._outgoing = Outgoing(self._arrivals.marks)
        self._watched: list[str] = []
        account = Account(f"ws{url.removeprefix('http')}/ws", user_id, api_key, tls)
        self._link = Link(account, keeper, self._arrivals, self._outgoing, self._watched)
        self._patience = patience
        self._last = "nothing was tried"
        self._task: asyncio.Task[None] | None = None
        self._leaving = False

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            UnreachableError: No service answers, for as long as the patience lasts.
            ClosedError: The service does not want this client: its token, its user.
        """
        self._task = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(self._patience):
                await self._link.met.wait()
        except BaseException as error:
            await self._stop()
            if isinstance(error, TimeoutError):
                raise UnreachableError(self._last) from None
            raise
        if self._outgoing.ended is not None:
            await self._stop()
            raise self._outgoing.ended
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say what is left to be acknowledged, and close."""
        if kind is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._outgoing.said()
        await self._stop()

    async def send(
        self,
        content: str,
        *,
        to: Talk,
        client_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> Message:
        """Send to a user, or into a conversation; the message as the service has it, once it is stored.

        A lost connection does not matter: it is sent again, with the same `client_id`, until there is an answer, and
        is one message. Give a `client_id` of your own to repeat a `send` later, within 24 hours. Messages whose `send`
        was awaited one after the other have that order. `timestamp` is when it was written; for a message that is to be
        sent later there is `api.send`.

        Raises:
            RefusedError: The service does not want it.
            ClosedError: The client was closed meanwhile; the message may have been sent, or not.
            TypeError: `to` is nothing that can be said in JSON.
        """
        if not 0 < len(content) <= MAX_CONTENT or "\0" in content:
            # The service closes a socket over which too many such frames come.
            raise RefusedError(422, f"content: has 1 to {MAX_CONTENT} characters, none of them NUL")
        place = {"receiver_id": to} if isinstance(to, str) else {"conversation_id": to}
        written = {} if timestamp is None else {"timestamp": timestamp.isoformat()}
        fields = {**place, **written, "content": content, "client_id": client_id or uuid4().hex}
        try:
            json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # the service cannot read such a frame at all, and so not answer it
            raise RefusedError(422, "content: holds half a surrogate pair, which is no character") from None
        return await self._outgoing.send(fields)

    async def events(self) -> AsyncIterator[Event]:
        """What happens, from when the client was entered on; ends with the client.

        Raises:
            ClosedError: The service has closed the client for good.
        """
        while True:
            try:
                event = await self.next_event()
            except ClosedError:
                if self._leaving:
                    return
                raise
            yield event

    async def next_event(self) -> Event:
        """The next of the same events, for those who wait with a timeout: nothing is lost when that is cancelled.

        Raises:
            ClosedError: There will be none.
        """
        event = await self._mailbox.take()
        if (conversation_id := self._arrivals.taken(event)) is not None:
            self._outgoing.mark(conversation_id)
        return event

    @property
    def positions(self) -> Mapping[int, Position]:
        """How far the application has come: what it has taken. Give them to the next client, which goes on there."""
        return self._arrivals.positions

    def received(self, conversation_id: int, seq: int) -> None:
        """The application has the messages up to this one from elsewhere than `events`: from a page of history."""
        self._arrivals.received(conversation_id, seq)
        self._outgoing.mark(conversation_id)

    def read(self, conversation_id: int, seq: int) -> None:
        """A person has seen the messages up to this one. Said soon, and again when a connection was lost meanwhile."""
        self._arrivals.read(conversation_id, seq)
        self._outgoing.mark(conversation_id)

    def typing(self, conversation_id: int) -> None:
        """The user is writing; others are shown it for ten seconds."""
        self._outgoing.passing(type="typing", conversation_id=conversation_id)

    def watch(self, user_ids: Iterable[str]) -> None:
        """Have `Presence` events of these users, instead of those before.

        At most 100, and of them only those with whom the user has a conversation of two by now.
        """
        self._watched[:] = user_ids
        self._outgoing.passing(type="presence", user_ids=list(self._watched))

    async def _run(self) -> None:
        end: Exception = ClosedError(_CLOSED)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._gaps.run())
                tasks.create_task(self._connect())
        except* Exception as group:  # noqa: BLE001 - the token function's too: whatever it is, the application is told
            end = group.exceptions[0]
        finally:
            self._mailbox.end(end)
            self._outgoing.end(end)
            self._link.met.set()

    async def _connect(self) -> None:
        """Connect again and again.

        Raises:
            ClosedError: It makes no sense to.
        """
        failures = 0
        while True:
            end = await self._link.run()
            self._last = end.reason
            if self._leaving:  # a library on the way may have kept the cancellation to itself
                raise ClosedError(_CLOSED)
            if not end.again:
                raise ClosedError(end.reason, code=end.code)
            failures = 1 if (end.lasted or 0.0) >= STEADY_SECONDS else failures + 1
            cap = CAP_SECONDS if end.lasted is None else CAP_AFTER_HELLO_SECONDS
            seconds = delay(failures, base=BASE_SECONDS, cap=cap, at_least=end.seconds)
            if end.lasted is not None:
                await self._mailbox.room()
                self._mailbox.put(Disconnected(end.reason, seconds))
            await pause(seconds)

    async def _stop(self) -> None:
        self._leaving = True
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])  # and nothing else: the caller may be cancelled too
        finally:
            await self._http.close()
