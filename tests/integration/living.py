"""A replica's real time in this process, and sockets of it: frames go in and out as through a server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
import pytest
import structlog

from dispatcher.chat.live import snapshot
from dispatcher.chat.live.endpoint import Endpoint
from dispatcher.chat.live.hub import Hub
from dispatcher.chat.live.live import Live
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.send import NewChatMessage, Sender
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.redis import BoundedRedis

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica."""

    pool: Pool
    sender: Sender
    live: Live
    endpoint: Endpoint

    @property
    def hub(self) -> Hub:
        """Who is here, and follows what."""
        return self.live._hub  # noqa: SLF001 - what must not be left behind can be seen nowhere else

    async def say(self, conversation_id: int, sender_id: str, content: str = "hello") -> int:
        """Send a message; its seq."""
        new = NewChatMessage(conversation_id, sender_id, content, uuid4().hex)
        return (await self.sender.send(new)).message.seq


BUGS = {"chat_not_passed_on", "loop_failed"}


@contextmanager
def without_bugs() -> Iterator[None]:
    """Nothing of ours breaks meanwhile, unless the test captures what is logged."""
    broken: list[Any] = []

    def look(_: object, __: str, event: Any) -> Any:
        if event["event"] in BUGS:
            broken.append(event)
        return event

    processors = structlog.get_config()["processors"]
    processors.insert(0, look)
    try:
        yield
    finally:
        processors.remove(look)
    assert not broken


@asynccontextmanager
async def living(pool: Pool, redis_url: str, *, prefix: str = "", name: str = "a") -> AsyncIterator[Replica]:
    """A replica; those with the same prefix hear each other."""
    redis = BoundedRedis(redis_url, password=None, db=0, prefix=prefix or f"test:{uuid4().hex}:")
    live = Live(pool, redis, redis_url, password=None, db=0, replica=name)
    sender = Sender(pool, live.tell)
    try:
        with without_bugs():
            async with (
                background("sender", sender.run),
                live.running(
                    sender, Pairs(pool, live.tell), tokens=None, key=None, origins=(), ping_seconds=20
                ) as endpoint,
            ):
                yield Replica(pool, sender, live, endpoint)
    finally:
        await redis.close()


class Socket:
    """One socket; while `takes` is cleared it makes no room for what the server sends."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed: int | None = None
        self.takes = asyncio.Event()
        self.takes.set()
        self.sent = asyncio.Event()
        self._in: asyncio.Queue[Frame] = asyncio.Queue()

    def say(self, type_: str, **fields: Any) -> None:
        """Send a frame."""
        text = orjson.dumps({"type": type_, **fields}).decode()
        self._in.put_nowait({"type": "websocket.receive", "text": text})

    async def until(self, true: Callable[[Frame], object]) -> Frame:
        """The first frame of which this is true."""
        async with asyncio.timeout(10):
            while True:
                self.sent.clear()
                if (found := next((one for one in self.frames if true(one)), None)) is not None:
                    return found
                await self.sent.wait()

    async def answer(self, number: int) -> Frame:
        """The answer to the frame with this id."""
        return await self.until(lambda one: one.get("id") == number)

    async def until_closed(self) -> int:
        """The code that it was closed with."""
        async with asyncio.timeout(10):
            while self.closed is None:
                self.sent.clear()
                await self.sent.wait()
        return self.closed

    def of(self, type_: str) -> list[Frame]:
        """The frames of a type."""
        return [one for one in self.frames if one["type"] == type_]

    @property
    def contents(self) -> list[str]:
        """What the messages say, as they came."""
        return [one["message"]["content"] for one in self.of("message")]

    async def run(self, endpoint: Endpoint, hello: Frame) -> None:
        self._in.put_nowait({"type": "websocket.connect"})
        self.say("hello", **hello)
        await endpoint({"type": "websocket", "headers": []}, self._in.get, self._send)

    def leave(self) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def _send(self, message: Any) -> None:
        await self.takes.wait()
        if message["type"] == "websocket.send":
            assert self.closed is None, "nothing comes behind a close"
            self.frames.append(orjson.loads(message["text"]))
        elif message["type"] == "websocket.close":
            self.closed = message["code"]
            self.leave()
        self.sent.set()


@asynccontextmanager
async def connected(
    endpoint: Endpoint, user_id: str, *, greeted: bool = True, **hello: Any
) -> AsyncIterator[Socket]:
    """A socket of this user that has said hello and, unless it is still to be waited for, was greeted."""
    socket = Socket()
    task = asyncio.create_task(socket.run(endpoint, {"user_id": user_id, **hello}))
    try:
        if greeted:
            await socket.until(lambda one: one["type"] == "hello")
        yield socket
    finally:
        socket.takes.set()
        socket.leave()
        async with asyncio.timeout(10):
            await task


class Slow:
    """A look at Postgres that is held up, once, between its answer and whoever asked for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._look = getattr(snapshot, name)
        self.next_waits = False
        self.looked, self.let_go = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(snapshot, name, self)

    async def __call__(self, *arguments: Any, **more: Any) -> Any:
        found = await self._look(*arguments, **more)
        if self.next_waits:
            self.next_waits = False
            self.looked.set()
            await self.let_go.wait()
        return found

    async def has_looked(self) -> None:
        async with asyncio.timeout(5):
            await self.looked.wait()


async def add_users(pool: Pool, *user_ids: str) -> None:
    await pool.execute("INSERT INTO users (id) SELECT unnest($1::text[])", list(user_ids))
