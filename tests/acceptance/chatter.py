"""A client of the real-time protocol, as its documentation says one is written: it keeps positions, and comes back."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import orjson
from tests.acceptance.picture import Picture, Seen
from tests.acceptance.replica import eventually
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from dispatcher.chat.happened import nobody
from dispatcher.chat.open_dm import Pairs
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import Pool

GONE = (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, EOFError, TimeoutError)


class Place(Protocol):
    """Where one can connect to."""

    port: int


class Chatter:
    """One user's client."""

    def __init__(self, user_id: str, places: Sequence[Place], *, token: str | None = None) -> None:
        self.user_id, self.places, self.token = user_id, places, token
        self.picture = Picture(user_id)
        self.others: list[dict[str, Any]] = []
        """Frames that answer nothing and do not change the picture."""
        self.closed: list[tuple[int, str]] = []
        self._socket: ClientConnection | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next = 1
        self.ready = asyncio.Event()
        self.acks = True

    @property
    def seen(self) -> dict[int, Seen]:
        return self.picture.seen

    @property
    def connections(self) -> int:
        return self.picture.connections

    async def run(self) -> None:
        """Connect to any place, again and again."""
        while True:
            place = random.choice(self.places)
            try:
                async with connect(
                    f"ws://127.0.0.1:{place.port}/ws", compression=None, open_timeout=5, proxy=None
                ) as self._socket:
                    await self._talk(self._socket)
            except GONE:
                pass
            finally:
                self.ready.clear()
                socket = self._socket
                if socket is not None and socket.close_code is not None:
                    self.closed.append((socket.close_code, socket.close_reason or ""))
                self._socket = None
                for answer in self._answers.values():
                    answer.cancel()
                self._answers.clear()
            await pause(random.uniform(0, 0.05))

    async def ask(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Send a frame and return its answer."""
        number, self._next = self._next, self._next + 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self.say(type_, id=number, **fields)
        async with asyncio.timeout(10):
            return await answer

    async def say(self, type_: str, **fields: Any) -> None:
        """Send a frame that has no answer."""
        if self._socket is None:
            raise ConnectionError
        await self._socket.send(orjson.dumps({"type": type_, **fields}).decode())

    async def send_surely(self, client_id: str, content: str, **where: Any) -> dict[str, Any]:
        """Send a message until it is known to be in; with its client_id it goes in once."""
        while True:
            with suppress(*GONE, asyncio.CancelledError):
                async with asyncio.timeout(20):
                    await self.ready.wait()
                answer = await self.ask("send", client_id=client_id, content=content, **where)
                if answer["type"] == "sent":
                    message: dict[str, Any] = answer["message"]
                    return message
                assert answer["temporary"], answer
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError
            await pause(0.02)

    def kick(self) -> None:
        """The connection breaks, without a word."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def has(self, conversation_id: int, seq: int, *, seconds: float = 15.0) -> Seen:
        """Wait until it has the conversation up to this seq."""

        async def there() -> bool:
            now = self.seen.get(conversation_id, Seen()).seq
            if now < seq:
                raise TimeoutError(f"{self.user_id} has {now}")
            return True

        await eventually(there, seconds=seconds, what=f"{self.user_id} has {conversation_id} up to {seq}")
        return self.seen[conversation_id]

    async def hears(self, what: Callable[[dict[str, Any]], bool], *, seconds: float = 10.0) -> dict[str, Any]:
        """The first other frame of which this is true."""

        async def there() -> dict[str, Any] | None:
            return next((frame for frame in self.others if what(frame)), None)

        found = await eventually(there, seconds=seconds, what="a frame")
        assert found is not None
        return found

    async def _talk(self, socket: ClientConnection) -> None:
        hello = {"type": "hello", "id": 0, "positions": self.picture.positions}
        hello |= {"token": self.token} if self.token else {"user_id": self.user_id}
        await socket.send(orjson.dumps(hello).decode())
        async for raw in socket:
            await self._got(orjson.loads(raw))

    async def _got(self, frame: dict[str, Any]) -> None:
        if not self.picture.got(frame):
            answer = self._answers.pop(frame.get("id") or -1, None)
            if answer is not None and not answer.done():
                answer.set_result(frame)
            else:
                self.others.append(frame)
        if frame["type"] == "hello":
            self.ready.set()
        if frame["type"] == "message" and self.acks:
            message = frame["message"]
            if message["sender_id"] != self.user_id:
                await self.say("ack", conversation_id=message["conversation_id"], seq=message["seq"])


@asynccontextmanager
async def chatting(*chatters: Chatter) -> AsyncIterator[None]:
    """All of them connected, for as long as the block runs; none may have had anything out of order."""
    tasks = [asyncio.create_task(one.run()) for one in chatters]
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(*(one.ready.wait() for one in chatters))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for one in chatters:
        assert one.picture.complaints == [], one.user_id


async def add_users(pool: Pool, *user_ids: str) -> None:
    await pool.execute("INSERT INTO users (id) SELECT unnest($1::text[])", list(user_ids))


async def add_dm(pool: Pool, one: str, other: str) -> int:
    """A conversation of two, as their first message makes one."""
    return await Pairs(pool, nobody).open(one, other)
