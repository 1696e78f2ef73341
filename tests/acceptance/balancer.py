"""A load balancer in front of replicas: each connection goes to one that answers, and all can be cut at once."""

import asyncio
import random
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from tests.acceptance.replica import Replica

CHUNK_BYTES = 64 * 1024


class Balancer:
    """Forwards connections on its port."""

    def __init__(self, replicas: Sequence[Replica], *, seed: int) -> None:
        self.port = 0
        self.connections = 0
        """Made so far."""
        self._replicas, self._random = replicas, random.Random(seed)
        self._open: set[StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Every connection breaks, without a word."""
        for writer in self._open:
            writer.transport.abort()

    async def connect(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one client."""
        for replica in self._random.sample(self._replicas, len(self._replicas)):
            with suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", replica.port)
                break
        else:
            writer.transport.abort()
            return
        self.connections += 1
        both = {writer, back}
        self._open |= both
        carrying = [asyncio.create_task(_carry(reader, back)), asyncio.create_task(_carry(there, writer))]
        try:
            await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= both
            for task in carrying:
                task.cancel()
            await asyncio.wait(carrying)
            writer.close()
            back.close()


async def _carry(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def running_balancer(replicas: Sequence[Replica], *, seed: int = 1) -> AsyncIterator[Balancer]:
    balancer = Balancer(replicas, seed=seed)
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(balancer.connect(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
