"""PgQueuer on asyncpg, posting with aiohttp, at its best on two cores.

- Two processes: the worker's Python is the bottleneck, and two were a third faster than one.
- Batches of 100 and 200 picked jobs a process, of which aiohttp has 32 on the wire: more picked jobs, or no limit
  at all, were no faster.
- `min_dequeue_poll_interval` of 1 ms instead of 100: a worker that has picked as many as it may waits that long.
- A pool of connections instead of one, so that a claim need not wait for a settle; uvloop; the log table kept
  (its default durability); its own `optimize_autovacuum`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import asyncpg
import orjson
import uvloop
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

from bench.peers.driven import Task, bodies, drive, task

ENTRYPOINT = "deliver"
HEADERS = {"content-type": "application/json"}


async def main(work: Task) -> None:
    """Drive it."""
    pool = await asyncpg.create_pool(work.db_url, min_size=2, max_size=4)
    queries = Queries(AsyncpgPoolDriver(pool))
    if not await queries.has_table("pgqueuer"):
        await queries.install()
        await queries.optimize_autovacuum()

    async def fill(count: int) -> None:
        await pool.execute("TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics")
        payloads = [orjson.dumps(body) for body in bodies(count)]
        await queries.enqueue([ENTRYPOINT] * count, payloads, [0] * count)

    @asynccontextmanager
    async def worker() -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=work.in_flight)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def deliver(job: Job) -> None:
                async with session.post(work.webhook_url, data=job.payload, headers=HEADERS) as response:
                    await response.read()
                    response.raise_for_status()

            manager = QueueManager(queries)
            manager.min_dequeue_poll_interval = timedelta(milliseconds=1)
            manager.entrypoint(ENTRYPOINT)(deliver)
            running = asyncio.create_task(manager.run(batch_size=100, max_concurrent_tasks=200))
            try:
                yield
            finally:
                manager.shutdown.set()
                await running

    await drive(fill, worker)


if __name__ == "__main__":
    uvloop.run(main(task()))
