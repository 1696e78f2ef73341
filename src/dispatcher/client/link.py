"""Link: one connection, from its hello to its end."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from dispatcher.client.arrivals import Arrivals
from dispatcher.client.closing import BAD_TOKEN, EXPIRED, may_ask_again, may_connect_again
from dispatcher.client.errors import RefusedError, UnreachableError
from dispatcher.client.http import KEY_HEADER, is_local
from dispatcher.client.models import Conversation, Message
from dispatcher.client.outgoing import Outgoing
from dispatcher.client.token import TokenKeeper
from dispatcher.kernel.clock import elapsed, pause

OPEN_SECONDS = 10.0
HELLO_SECONDS = 15.0
PING_SECONDS = 15.0
"""Between pings; a connection that does not answer one for as long is dead."""
CLOSE_SECONDS = 2.0
MAX_FRAME = 16 * 1024 * 1024
MAX_FRAMES = 64
"""Frames that were received and not read yet; then the network is told to wait."""
REFRESH_AGAIN_SECONDS = 5.0
"""When there was no other token at the time that there should have been one."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where a client connects, and as whom."""

    url: str
    """Of the socket."""
    user_id: str | None
    api_key: str | None
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection ended, and what follows."""

    reason: str
    code: int | None = None
    again: bool = True
    seconds: float = 0.0
    """How long the service wants to be left alone at least."""
    lasted: float | None = None
    """Seconds from the hello on; None when there was none."""


class Link:
    """One connection at a time."""

    def __init__(
        self, account: Account, token: TokenKeeper, arrivals: Arrivals, outgoing: Outgoing, watched: list[str]
    ) -> None:
        self._account, self._token = account, token
        self._arrivals, self._outgoing, self._watched = arrivals, outgoing, watched
        self.met = asyncio.Event()
        """Set from the first hello on."""
        self._since: float | None = None
        self._problem = ""
        self._after = 0.0
        self._refused: str | None = None

    async def run(self) -> End:
        """Connect, and stay connected until one side or the network ends it."""
        self._since, self._problem, self._after = None, "", 0.0
        account = self._account
        tls: dict[str, Any] = {} if account.tls is None else {"ssl": account.tls}
        try:
            token = await self._token.get(other_than=self._refused)
            async with connect(
                account.url,
                additional_headers={KEY_HEADER: account.api_key} if account.api_key else None,
                compression=None,
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ping_interval=PING_SECONDS,
                ping_timeout=PING_SECONDS,
                max_size=MAX_FRAME,
                max_queue=MAX_FRAMES,
                proxy=None if is_local(account.url) else True,
                **tls,
            ) as socket:
                return await self._stay(socket, token)
        except InvalidStatus as error:
            status = error.response.status_code
            return End(f"the service answered {_status(status)}", status, may_ask_again(status))
        except InvalidURI as error:
            return End(str(error), again=False)
        except UnreachableError as error:
            return End(str(error))
        except (OSError, TimeoutError, InvalidHandshake) as error:
            return End(f"no service answers at {account.url} ({str(error) or type(error).__name__})")

    async def _stay(self, socket: ClientConnection, token: str | None) -> End:
        try:
            await self._hello(socket, token)
            works = self._write(socket), self._refresh(), self._read(socket)
            tasks = [asyncio.create_task(work) for work in works]
            try:
                # reading ends with one, always; when another does, nobody else would notice
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                self._outgoing.disconnected()
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            raise next(one for one in results if isinstance(one, Exception))
        except ConnectionClosed:
            return self._end(socket, token)
        except TimeoutError:
            return End("no hello came from the service")

    def _end(self, socket: ClientConnection, token: str | None) -> End:
        code = socket.close_code or 1006
        reason = self._problem or socket.close_reason or "the connection was lost"
        again = may_connect_again(code)
        if code in {BAD_TOKEN, EXPIRED}:
            again = self._token.renewable and (code == EXPIRED or self._refused is None)
            self._refused = token
        lasted = None if self._since is None else elapsed() - self._since
        return End(reason, code, again, self._after, lasted)

    async def _hello(self, socket: ClientConnection, token: str | None) -> None:
        hello: dict[str, Any] = {"type": "hello", "id": 0, "positions": self._arrivals.named()}
        if token is not None:
            hello["token"] = token
        if self._account.user_id is not None:
            hello["user_id"] = self._account.user_id
        await socket.send(json.dumps(hello))
        while self._since is None:
            async with asyncio.timeout(HELLO_SECONDS):
                text = await socket.recv()
            await self._frame(json.loads(text))

    async def _frame(self, fields: Mapping[str, Any]) -> None:
        match fields["type"]:
            case "hello":
                listed = [Conversation.of(one) for one in fields["conversations"]]
                self._since, self._refused = elapsed(), None
                await self._arrivals.hello(fields["user_id"], listed, more=fields["more"])
                self._outgoing.connected({one.id: (one.delivered_seq, one.read_seq) for one in listed})
                if self._watched:
                    self._outgoing.passing(type="presence", user_ids=list(self._watched))
                self.met.set()
            case "sent":
                self._outgoing.answered(fields["id"], Message.of(fields["message"]))
            case "error":
                self._error(fields)
            case "bye":
                self._problem, self._after = fields["reason"], fields["after_ms"] / 1000
            case other:
                await self._arrivals.frame(other, fields)

    def _error(self, fields: Mapping[str, Any]) -> None:
        error = RefusedError(fields["status"], fields["detail"])
        if self._since is None:
            self._problem = error.detail
        elif fields["id"] is not None:
            again = fields.get("retry_after_ms", 0) / 1000 if fields["temporary"] else None
            self._outgoing.refused(fields["id"], error, again_in=again)

    async def _read(self, socket: ClientConnection) -> None:
        async for text in socket:
            await self._frame(json.loads(text))
        await socket.recv()  # raises, and says how it was closed

    async def _write(self, socket: ClientConnection) -> None:
        outgoing = self._outgoing
        try:
            while True:
                await outgoing.wake.wait()
                outgoing.wake.clear()
                while (frame := outgoing.take()) is not None:
                    await socket.send(frame)
        except ConnectionClosed:
            pass  # reading says why

    async def _refresh(self) -> None:
        """Give the service the next token before the one it has ends."""
        while self._token.renewable:
            seconds = self._token.seconds_left
            if seconds is None:
                return
            await pause(seconds or REFRESH_AGAIN_SECONDS)
            with suppress(UnreachableError, OSError):  # there will be another moment for it
                self._outgoing.passing(type="refresh", token=await self._token.get())


def _status(number: int) -> str:
    try:
        return f"{number} {HTTPStatus(number).phrase}"
    except ValueError:
        return str(number)
