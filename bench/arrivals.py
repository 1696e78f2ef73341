"""How many POSTs the receiver has had: asked of itself, so that no database is polled while it is measured."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import httpx2


class Arrivals:
    """Counts what arrives at one receiver from now on."""

    def __init__(self, client: httpx2.AsyncClient, url: str) -> None:
        self._client, self._url, self._before = client, urljoin(url, "/count"), 0

    async def since(self) -> int:
        """POSTs since the last `restart`."""
        return int((await self._client.get(self._url)).text) - self._before

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
            await asyncio.sleep(0.02)


@asynccontextmanager
async def arrivals(url: str) -> AsyncIterator[Arrivals]:
    """The arrivals at the receiver at `url`, once it answers."""
    async with httpx2.AsyncClient() as client:
        while True:
            try:
                await client.get(urljoin(url, "/count"))
            except httpx2.TransportError:
                await asyncio.sleep(0.02)
            else:
                break
        yield Arrivals(client, url)
