"""How many POSTs the receiver has had: asked of itself, so that no database is polled while it is measured."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

_QUESTION = b"GET /count HTTP/1.1\r\n\r\n"
LOOK_SECONDS = 0.02


class Arrivals:
    """Counts what arrives at one receiver from now on.

    It asks fifty times a second, so over a bare connection: an HTTP client took 3 % of a core from what is measured.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._before = 0
        self._turn = asyncio.Lock()

    async def since(self) -> int:
        """POSTs since the last `restart`."""
        async with self._turn:
            self._writer.write(_QUESTION)
            head = await self._reader.readuntil(b"\r\n\r\n")
            body = await self._reader.readexactly(int(head.rpartition(b":")[2]))
        return int(body) - self._before

    async def restart(self) -> None:
        self._before += await self.since()

    async def wait_for(self, count: int, *, seconds: float) -> None:
        """Until so many have arrived.

        Raises:
            TimeoutError: It took longer.
        """
        deadline = time.perf_counter() + seconds
        while (arrived := await self.since()) < count:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{arrived} of {count} messages have arrived after {seconds:.0f} s")
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def arrivals(url: str) -> AsyncIterator[Arrivals]:
    """The arrivals at the receiver at `url`, once it takes connections."""
    address = urlsplit(url)
    connected = None
    while connected is None:
        try:
            connected = await asyncio.open_connection(address.hostname, address.port)
        except ConnectionRefusedError:
            await asyncio.sleep(LOOK_SECONDS)
    try:
        yield Arrivals(*connected)
    finally:
        connected[1].close()
