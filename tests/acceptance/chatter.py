"""A client of the real-time protocol, as its documentation says one is written: it keeps positions, and comes back."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from tests.acceptance.replica import Replica, eventually
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import Pool

GONE = (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, EOFError, TimeoutError)


@dataclass(slots=True)
class Seen:
    """One conversation, as a client has it."""

    seq: int = 0
    change: int = 0
    begun: bool = False
    """Whether it is known where it begins."""
    messages: dict[int, dict[str, Any]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    """The seqs, as they came."""
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    skipped: int = 0
    """How often it was told to read by pages."""

    @property
    def contents(self) -> list[str]:
        return [self.messages[seq]["content"] for seq in sorted(self.messages)]


class Chatter:
    """One user's client."""

    def __init__(self, user_id: str, replicas: Sequence[Replica], *, token: str | None = None) -> None:
        self.user_id, self.replicas, self.token = user_id, replicas, token
        self.seen: dict[int, Seen] = {}
        self.hello: dict[str, Any] = {}
        self.others: list[dict[str, Any]] = []
        """Frames that are neither messages nor changes."""
        self.connections = 0
        self.closed: list[tuple[int, str]] = []
        self.complaints: list[str] = []
        self._socket: ClientConnection | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next = 1
        self.ready = asyncio.Event()
        self.acks = True

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    async def run(self) -> None:
        """Connect to any replica, again and again."""
        while True:
            replica = random.choice(self.replicas)
            try:
                async with connect(
                    f"ws://127.0.0.1:{replica.port}/ws", compression=None, open_timeout=5, proxy=None
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
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
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
        positions = {str(id_): (seen.seq, seen.change) for id_, seen in self.seen.items() if seen.begun}
        hello = {"type": "hello", "id": 0, "positions": positions}
        hello |= {"token": self.token} if self.token else {"user_id": self.user_id}
        await socket.send(orjson.dumps(hello).decode())
        async for raw in socket:
            await self._got(orjson.loads(raw))

    async def _got(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "hello":
                self.hello = frame
                self.connections += 1
                for one in frame["conversations"]:
                    self._begin(one)
                self.ready.set()
            case "message":
                message = frame["message"]
                seen = self.seen.setdefault(message["conversation_id"], Seen())
                if seen.begun and message["seq"] != seen.seq + 1:
                    self.complaints.append(f"{message['seq']} behind {seen.seq}")
                seen.begun = True
                seen.seq = message["seq"]
                seen.order.append(message["seq"])
                seen.messages[message["seq"]] = message
                if "marks" in frame:
                    _mark(seen, message["sender_id"], *frame["marks"])
                if self.acks and message["sender_id"] != self.user_id:
                    await self.say("ack", conversation_id=message["conversation_id"], seq=seen.seq)
            case "changed":
                message = frame["message"]
                seen = self.seen.setdefault(message["conversation_id"], Seen())
                seen.change = max(seen.change, frame["change"])
                if message["seq"] in seen.messages:
                    seen.messages[message["seq"]] = message
                elif message["seq"] > seen.seq:
                    self.complaints.append(f"change of {message['seq']} before it")
            case "receipts":
                seen = self.seen.setdefault(frame["conversation_id"], Seen())
                for one in frame["marks"]:
                    _mark(seen, one["user_id"], one["delivered_seq"], one["read_seq"])
            case "behind":
                seen = self.seen.setdefault(frame["conversation_id"], Seen())
                seen.seq, seen.change = frame["seq"], frame["change"]
                seen.skipped += 1
            case _:
                if frame["type"] == "conversation" and "conversation" in frame:
                    seen = self.seen.setdefault(frame["conversation_id"], Seen())
                    seen.begun = True
                answer = self._answers.pop(frame.get("id", -1), None)
                if answer is not None and not answer.done():
                    answer.set_result(frame)
                else:
                    self.others.append(frame)

    def _begin(self, one: dict[str, Any]) -> None:
        seen = self.seen.setdefault(one["id"], Seen())
        if not seen.begun:
            seen.begun, seen.seq, seen.change = True, one["last_seq"], one["last_change"]
        _mark(seen, self.user_id, one["delivered_seq"], one["read_seq"])
        if one["peer_id"] is not None:
            _mark(seen, one["peer_id"], one["peer_delivered_seq"], one["peer_read_seq"])


def _mark(seen: Seen, user_id: str, delivered: int, read: int) -> None:
    old = seen.marks.get(user_id, (0, 0))
    seen.marks[user_id] = max(old[0], delivered), max(old[1], read)


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
        assert one.complaints == [], one.user_id


async def add_users(pool: Pool, *user_ids: str) -> None:
    await pool.execute("INSERT INTO users (id) SELECT unnest($1::text[])", list(user_ids))


async def add_dm(pool: Pool, one: str, other: str) -> int:
    """A conversation of two, as their first message makes one."""
    from dispatcher.chat.happened import nobody
    from dispatcher.chat.open_dm import Pairs

    return await Pairs(pool, nobody).open(one, other)
