"""Dispatch: messages per second from 50,000 pending rows, beside the bare client loop, in turn, in one run.

Everything runs on this machine: Postgres, Redis, etcd, the receiver and one replica with all its features on
(attempts kept, receipts, fencing, logs at info, written to a file). The bare loop is the same client against the
same receiver with the same requests in flight, and no database.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import httpx2
import uvloop
from pyreqwest.client import ClientBuilder
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.machine import free_port, machine
from dispatcher.embedded.servers import Addresses, embedded_servers, shell_lines
from dispatcher.kernel.etcd import connected

IN_FLIGHT = 64
INSERT = """
INSERT INTO messages (recipient_phone, content)
SELECT '+90555' || lpad(n::text, 7, '0'), 'Your code is ' || n FROM generate_series(1, $1) AS n
"""


@contextmanager
def receiver(port: int) -> Iterator[str]:
    """The bench receiver in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "bench.receiver", str(port)])
    try:
        yield f"http://127.0.0.1:{port}/webhook"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def service(addresses: Addresses, folder: Path, port: int) -> AsyncIterator[None]:
    """One replica in a process of its own, ready."""
    environment = dict(
        os.environ, APP_PORT=str(port), APP_DATA_DIR=str(folder / "replica"), LOG_ENV="production"
    )
    for line in shell_lines(addresses):
        name, _, value = line.removeprefix("export ").partition("=")
        environment[name] = value.strip("'")
    with (folder / "replica.log").open("w") as log:
        process = subprocess.Popen([f"{sys.prefix}/bin/dispatcher", "serve"], env=environment, stderr=log)
    try:
        async with httpx2.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200:
                        break
                except httpx2.TransportError:
                    assert process.poll() is None, (folder / "replica.log").read_text()
                await asyncio.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


async def bare(url: str, count: int) -> float:
    """Messages per second of the client alone."""
    headers = [
        ("content-type", "application/json"),
        ("webhook-id", "1"),
        ("x-correlation-id", "webhook-1-00000000"),
    ]
    client = ClientBuilder().no_proxy().follow_redirects(False).pool_max_idle_per_host(IN_FLIGHT).build()
    left = iter(range(count))

    async def worker() -> None:
        for number in left:
            request = client.post(url).headers(headers)
            body = b'{"to":"+905550000001","content":"Your code is %d"}' % number
            response = await request.body_bytes(body).build().send()
            await response.bytes()
            assert response.status == 202

    async with client:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(worker())
        return count / (time.perf_counter() - began)


async def dispatch(db_url: str, api: str, count: int) -> float:
    """Messages per second through the whole service: from /start until the last one is settled in Postgres."""
    connection = await asyncpg.connect(db_url)
    try:
        await connection.execute("TRUNCATE messages, attempts")
        await connection.execute(INSERT, count)
        await connection.execute("VACUUM ANALYZE messages")
        async with httpx2.AsyncClient() as client:
            began = time.perf_counter()
            await client.post(f"{api}/start")
            while await connection.fetchval(
                "SELECT EXISTS (SELECT FROM messages WHERE state IN ('pending', 'sending'))"
            ):
                await asyncio.sleep(0.02)
            seconds = time.perf_counter() - began
            await client.post(f"{api}/stop")
        sent = await connection.fetchval("SELECT count(*) FROM messages WHERE sent_status")
        assert sent == count, f"{sent} of {count} were sent"
        assert await connection.fetchval("SELECT count(*) FROM attempts") == count
        return count / seconds
    finally:
        await connection.close()


async def main(count: int, rounds: int) -> None:
    """Measure in turn and print the table."""
    console = Console()
    console.print(machine())
    figures: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name, receiver(free_port()) as url:
        folder, port = Path(name), free_port()
        async with embedded_servers(folder, postgres=True, redis=True, etcd=True) as addresses:
            assert addresses.db_url
            assert addresses.etcd_endpoints
            async with connected(addresses.etcd_endpoints[0]) as etcd:
                live = {
                    "webhook_url": url,
                    "rate_limit": "1000000",
                    "scheduler_interval": "0.1",
                    "auto_sending": "false",
                    "webhook_concurrency": str(IN_FLIGHT),
                }
                for key, value in live.items():
                    await etcd.put(f"/app/config/{key}".encode(), value.encode())
            async with service(addresses, folder, port):
                api = f"http://127.0.0.1:{port}"
                with Progress(console=console, transient=True) as progress:
                    for _ in progress.track(range(rounds + 1), description="Measuring ..."):
                        alone = await bare(url, count)
                        figures.append((await dispatch(addresses.db_url, api, count), alone))
    figures = figures[1:]  # the first round warms up
    table = Table(
        "",
        "messages/s (median)",
        "least",
        "most",
        title=f"{count:,} messages, {IN_FLIGHT} in flight, {rounds} rounds",
    )
    for row, values in (
        ("dispatcher", [a for a, _ in figures]),
        ("bare client loop", [b for _, b in figures]),
    ):
        table.add_row(row, f"{statistics.median(values):,.0f}", f"{min(values):,.0f}", f"{max(values):,.0f}")
    ratios = [a / b for a, b in figures]
    table.add_row("ratio", f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}", f"{max(ratios):.2f}")
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="messages a round (default: 50000)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default: 5)")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.count, arguments.rounds))
