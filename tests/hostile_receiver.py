"""A webhook receiver on raw TCP for tests: records the exact bytes it got and answers as badly as told to."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; True keeps the connection for the next one."""


def answers(raw: bytes, *, keep: bool = True) -> Behaviour:
    """Send exactly these bytes; then keep the connection, or close it."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(raw)
        await writer.drain()
        return keep

    return behave


def status(line: str, body: bytes = b"", *headers: str) -> Behaviour:
    """A well-formed answer, like `status("404 Not Found")`."""
    head = "\r\n".join([f"HTTP/1.1 {line}", *headers, f"content-length: {len(body)}", "", ""])
    return answers(head.encode() + body)


def stalls_after(raw: bytes) -> Behaviour:
    """Send these bytes, then nothing until the other side gives up."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(raw)
        await reader.read()
        return False

    return behave


def drips(raw: bytes, *, pause_seconds: float) -> Behaviour:
    """Send one byte at a time, until the other side gives up."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for byte in raw:
            writer.write(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await reader.read()
                    return False
        return False

    return behave


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()


async def closes(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> bool:
    return False


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    linger_for_zero_seconds = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_zero_seconds)
    return False


@dataclass(slots=True)
class HostileReceiver:
    """What arrived, and what to do with it."""

    behaviour: Behaviour
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a connection is over, whoever ended it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhook"

    def headers(self, index: int = -1) -> dict[str, str]:
        lines = self.heads[index].decode().split("\r\n")[1:-2]
        return dict(line.split(": ", 1) for line in lines)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            self.abandoned.set()
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(int(self.headers()["content-length"])))
        self.arrived.set()
        return await self.behaviour(reader, writer)


@contextlib.asynccontextmanager
async def hostile_receiver(behaviour: Behaviour) -> AsyncIterator[HostileReceiver]:
    receiver = HostileReceiver(behaviour)
    open_connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Our own tasks, so that they end with the receiver and not with the event loop.
        task = asyncio.create_task(receiver.converse(reader, writer))
        open_connections.add(task)
        task.add_done_callback(open_connections.discard)
        # Also where the task is cancelled before it has begun, and so ends without its `finally`.
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tuple(open_connections):
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)
