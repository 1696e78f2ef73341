"""Dispatcher itself under measurement: one replica with all its features on, in a process of its own."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import asyncpg
import httpx2
import psutil

from bench.arrivals import Arrivals
from bench.figure import Figure, cpu, figure
from bench.machine import environment, free_port
from dispatcher.embedded.servers import Addresses
from dispatcher.kernel.etcd import connected
from dispatcher.kernel.migrate import migrate

IN_FLIGHT = 64
INSERT = """
INSERT INTO messages (recipient_phone, content)
SELECT '+90555' || lpad(n::text, 7, '0'), 'Your code is ' || n FROM generate_series(1, $1) AS n
"""
LEFT = "SELECT EXISTS (SELECT FROM messages WHERE state IN ('pending', 'sending'))"


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica that is ready, and where to reach it."""

    api: str
    db_url: str
    process: psutil.Process


@asynccontextmanager
async def service(
    addresses: Addresses,
    folder: Path,
    webhook_url: str,
    *,
    live: Mapping[str, str] = MappingProxyType({}),
    stdout: int | None = None,
) -> AsyncIterator[Replica]:
    """One replica, ready, stopped, and told by etcd to send to `webhook_url` as fast as it can.

    Args:
        addresses: The servers that it uses.
        folder: Where its log and what it keeps are put.
        webhook_url: Where it sends to.
        live: Live values that differ from that.
        stdout: A descriptor to print to; the caller's own standard output if there is none.
    """
    assert addresses.db_url
    assert addresses.etcd_endpoints
    await migrate(addresses.db_url)  # as nearly every start finds it
    values = {
        "webhook_url": webhook_url,
        "rate_limit": "1000000",
        "scheduler_interval": "0.1",
        "auto_sending": "false",
        "webhook_concurrency": str(IN_FLIGHT),
        **live,
    }
    async with connected(addresses.etcd_endpoints[0]) as etcd:
        for key, value in values.items():
            await etcd.put(f"/app/config/{key}".encode(), value.encode())
    port = free_port()
    settings = environment(
        addresses,
        APP_PORT=str(port),
        APP_DATA_DIR=str(folder / "replica"),
        LOG_ENV="production",
        LOG_DIR=str(folder / "logs"),
    )
    with (folder / "replica.log").open("w") as log:
        process = subprocess.Popen(
            [f"{sys.prefix}/bin/dispatcher", "serve"], env=settings, stdout=stdout, stderr=log
        )
    replica = Replica(f"http://127.0.0.1:{port}", addresses.db_url, psutil.Process(process.pid))
    try:
        async with httpx2.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{replica.api}/health")).status_code == 200:
                        break
                except httpx2.TransportError:
                    assert process.poll() is None, (folder / "replica.log").read_text()
                await asyncio.sleep(0.1)
        yield replica
    finally:
        process.terminate()
        process.wait(30)


async def dispatch(replica: Replica, arrivals: Arrivals, count: int) -> Figure:
    """From /start until the last of `count` messages is settled in Postgres."""
    connection = await asyncpg.connect(replica.db_url)
    try:
        await connection.execute("TRUNCATE messages, attempts")
        await connection.execute("CHECKPOINT")
        await connection.execute(INSERT, count)
        await connection.execute("VACUUM ANALYZE messages")
        await arrivals.restart()
        async with httpx2.AsyncClient() as client:
            began, cpu_before = time.perf_counter(), cpu([replica.process])
            await client.post(f"{replica.api}/start")
            await arrivals.wait_for(count, seconds=120)
            while await connection.fetchval(LEFT):
                await asyncio.sleep(0.005)
            measured = figure([replica.process], cpu_before, count, time.perf_counter() - began)
            await client.post(f"{replica.api}/stop")
        sent = await connection.fetchval("SELECT count(*) FROM messages WHERE sent_status")
        assert sent == count, f"{sent} of {count} were sent"
        assert await connection.fetchval("SELECT count(*) FROM attempts") == count
        return measured
    finally:
        await connection.close()
