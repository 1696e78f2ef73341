"""A webhook for acceptance tests: notes everything that arrives and answers as it is told, one message at a time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import orjson

from dispatcher.kernel.clock import elapsed, pause

ENDLESS_CHUNK = b"1000\r\n" + b"x" * 4096 + b"\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to do with one request. A body of None is a fresh `messageId`."""

    status: int = 202
    body: bytes | None = None
    headers: tuple[str, ...] = ()
    delay: float = 0.0
    ending: Literal["keep", "hang", "close", "endless"] = "keep"


@dataclass(slots=True)
class Arrival:
    """One request that arrived whole, and what became of it. Times are on the clock of `kernel.clock.elapsed`."""

    at: float
    path: str
    webhook_id: int
    headers: Mapping[str, str]
    to: str
    content: str
    answer: Answer = Answer()
    """What the receiver was told to do with it."""
    answered_at: float | None = None
    """When the answer had gone out; None until then."""


class Receiver:
    """What arrived so far, and how the next requests are answered."""

    def __init__(self) -> None:
        self.answer: Callable[[Arrival], Answer] = lambda _: Answer()
        self.arrivals: list[Arrival] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhook"

    @property
    def times(self) -> Counter[int]:
        """How often each `webhook-id` arrived."""
        return Counter(arrival.webhook_id for arrival in self.arrivals)

    @property
    def repeated(self) -> dict[int, int]:
        """The `webhook-id`s that arrived more than once, with how often."""
        return {webhook_id: times for webhook_id, times in self.times.items() if times > 1}

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the sender left or was killed
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        arrival = await self._read(reader)
        self.arrivals.append(arrival)
        arrival.answer = answer = self.answer(arrival)
        if answer.delay:
            await pause(answer.delay)
        match answer.ending:
            case "close":
                return False
            case "hang":
                await reader.read()
                return False
            case "endless":
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    writer.write(ENDLESS_CHUNK)
                    await writer.drain()
            case "keep":
                body = answer.body if answer.body is not None else _receipt(arrival)
                lines = (
                    f"HTTP/1.1 {answer.status} x",
                    *answer.headers,
                    f"content-length: {len(body)}",
                    "",
                    "",
                )
                writer.write("\r\n".join(lines).encode() + body)
                await writer.drain()
                arrival.answered_at = elapsed()
        return True

    async def _read(self, reader: asyncio.StreamReader) -> Arrival:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        fields = orjson.loads(await reader.readexactly(int(headers["content-length"])))
        return Arrival(
            elapsed(),
            first.split()[1],
            int(headers["webhook-id"]),
            headers,
            fields["to"],
            fields["content"],
        )


def _receipt(arrival: Arrival) -> bytes:
    return orjson.dumps({"message": "Accepted", "messageId": f"receipt-{arrival.webhook_id}"})


@asynccontextmanager
async def running_receiver(port: int = 0) -> AsyncIterator[Receiver]:
    """At that port, or at any that is free."""
    receiver = Receiver()
    conversations: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Our own tasks, so that they end with the receiver and not with the event loop.
        task = asyncio.create_task(receiver.converse(reader, writer))
        conversations.add(task)
        task.add_done_callback(conversations.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", port, backlog=1024)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tuple(conversations):
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
