"""The mark: a bare claim-send-settle loop with asyncpg and pyreqwest, as fast as Python can do it durably.

It has nothing else: no attempts, no leases that end, no retries, no receipts, no schedule, no logs. One connection
claims 1,000 rows at a time, always one claim ahead of the senders; another settles all that was answered since its
last commit, so the batches grow by themselves with the time that a commit takes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import orjson
import uvloop
from pyreqwest.client import Client, ClientBuilder

from bench.peers.driven import Task, bodies, drive, task

CLAIM_SIZE = 1000
TABLE = """
CREATE TABLE IF NOT EXISTS bare (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient text NOT NULL,
    content text NOT NULL,
    state smallint NOT NULL DEFAULT 0, -- 0 pending, 1 sending, 2 sent
    sent_at timestamptz
);
CREATE INDEX IF NOT EXISTS bare_pending ON bare (id) WHERE state = 0;
"""
CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id FROM bare WHERE state = 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE bare SET state = 1 FROM due WHERE bare.id = due.id RETURNING bare.id, recipient, content
"""
SETTLE = "UPDATE bare SET state = 2, sent_at = now() FROM unnest($1::bigint[]) AS done (id) WHERE bare.id = done.id"


class Loop:
    """Claims, sends and settles until cancelled."""

    def __init__(self, pool: asyncpg.Pool, client: Client, webhook_url: str) -> None:
        self._pool, self._client, self._url = pool, client, webhook_url
        self._claimed: deque[asyncpg.Record] = deque()
        self._sent: list[int] = []
        self._arrived, self._low, self._answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def claim(self) -> None:
        async with self._pool.acquire() as connection:
            statement = await connection.prepare(CLAIM)
            while rows := await statement.fetch(CLAIM_SIZE):
                self._claimed.extend(rows)
                self._arrived.set()
                self._low.clear()
                await self._low.wait()

    async def send(self) -> None:
        while True:
            while not self._claimed:
                self._arrived.clear()
                await self._arrived.wait()
            id_, to, content = self._claimed.popleft()
            if len(self._claimed) < CLAIM_SIZE:
                self._low.set()
            body = orjson.dumps({"to": to, "content": content})
            response = await self._client.post(self._url).body_bytes(body).build().send()
            assert response.status == 202
            await response.bytes()
            self._sent.append(id_)
            self._answered.set()

    async def settle(self) -> None:
        async with self._pool.acquire() as connection:
            statement = await connection.prepare(SETTLE)
            while True:
                await self._answered.wait()
                self._answered.clear()
                batch, self._sent = self._sent, []
                await statement.fetch(batch)


async def main(work: Task) -> None:
    """Drive it."""
    pool = await asyncpg.create_pool(work.db_url, min_size=2, max_size=3)
    await pool.execute(TABLE)

    async def fill(count: int) -> None:
        await pool.execute("TRUNCATE bare")
        rows = [(body["to"], body["content"]) for body in bodies(count)]
        await pool.copy_records_to_table("bare", records=rows, columns=["recipient", "content"])

    @asynccontextmanager
    async def worker() -> AsyncIterator[None]:
        builder = ClientBuilder().no_proxy().follow_redirects(False).pool_max_idle_per_host(work.in_flight)
        async with builder.default_headers({"content-type": "application/json"}).build() as client:
            loop = Loop(pool, client, work.webhook_url)
            tasks = [
                asyncio.ensure_future(part)
                for part in (loop.claim(), loop.settle(), *(loop.send() for _ in range(work.in_flight)))
            ]
            try:
                yield
            finally:
                for each in tasks:
                    each.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    await drive(fill, worker)


if __name__ == "__main__":
    uvloop.run(main(task()))
