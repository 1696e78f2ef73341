"""Procrastinate, posting with aiohttp, at its best on two cores.

It fetches one job a query, one query at a time in each worker, and finishes jobs one by one.

- Four workers in one process share the requests in flight: half as fast again as one; two processes were no faster.
- A pool without the check of each connection that its own pool makes before each query; psycopg's C speedups; uvloop.
- Finished jobs are kept, as by default.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson
import uvloop
from procrastinate import App, PsycopgConnector
from psycopg_pool import AsyncConnectionPool

from bench.peers.driven import Task, bodies, drive, task

WORKERS = 4
"""Workers in this process; they share its requests in flight."""
HEADERS = {"content-type": "application/json"}


async def main(work: Task) -> None:
    """Drive it."""
    app = App(connector=PsycopgConnector())
    pool = AsyncConnectionPool(work.db_url, min_size=2, max_size=20, open=False)
    await pool.open()
    await app.open_async(pool)
    if not await app.check_connection_async():
        await app.schema_manager.apply_schema_async()
    session: aiohttp.ClientSession | None = None

    async def deliver(to: str, content: str) -> None:
        assert session is not None
        body = orjson.dumps({"to": to, "content": content})
        async with session.post(work.webhook_url, data=body, headers=HEADERS) as response:
            await response.read()
            response.raise_for_status()

    queued = app.task(name="deliver")(deliver)

    async def fill(count: int) -> None:
        await app.connector.execute_query_async("TRUNCATE procrastinate_jobs CASCADE")
        await queued.batch_defer_async(*bodies(count))

    @asynccontextmanager
    async def worker() -> AsyncIterator[None]:
        nonlocal session
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=work.in_flight)) as session:
            running = [
                asyncio.create_task(
                    app.run_worker_async(concurrency=work.in_flight // WORKERS, install_signal_handlers=False)
                )
                for _ in range(WORKERS)
            ]
            try:
                yield
            finally:
                for each in running:
                    each.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    await drive(fill, worker)


if __name__ == "__main__":
    uvloop.run(main(task()))
