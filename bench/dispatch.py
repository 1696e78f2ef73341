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
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2
import psutil
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


@dataclass(frozen=True, slots=True)
class Figure:
    """One round of one side."""

    per_second: float
    cpu_microseconds: float
    """CPU time of the measured process, per message: says more than the rate where others use the machine too."""


def figure(process: psutil.Process, cpu_before: float, count: int, seconds: float) -> Figure:
    return Figure(count / seconds, (cpu(process) - cpu_before) / count * 1e6)


def cpu(process: psutil.Process) -> float:
    """CPU seconds that the process has used."""
    times = process.cpu_times()
    return times.user + times.system


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
async def service(addresses: Addresses, folder: Path, port: int) -> AsyncIterator[psutil.Process]:
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
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


async def bare(url: str, count: int) -> Figure:
    """The client alone."""
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

    us = psutil.Process()
    async with client:
        began, cpu_before = time.perf_counter(), cpu(us)
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(worker())
        return figure(us, cpu_before, count, time.perf_counter() - began)


async def dispatch(db_url: str, api: str, process: psutil.Process, count: int) -> Figure:
    """The whole service: from /start until the last message is settled in Postgres."""
    connection = await asyncpg.connect(db_url)
    try:
        await connection.execute("TRUNCATE messages, attempts")
        await connection.execute(INSERT, count)
        await connection.execute("VACUUM ANALYZE messages")
        async with httpx2.AsyncClient() as client:
            began, cpu_before = time.perf_counter(), cpu(process)
            await client.post(f"{api}/start")
            while await connection.fetchval(
                "SELECT EXISTS (SELECT FROM messages WHERE state IN ('pending', 'sending'))"
            ):
                await asyncio.sleep(0.02)
            measured = figure(process, cpu_before, count, time.perf_counter() - began)
            await client.post(f"{api}/stop")
        sent = await connection.fetchval("SELECT count(*) FROM messages WHERE sent_status")
        assert sent == count, f"{sent} of {count} were sent"
        assert await connection.fetchval("SELECT count(*) FROM attempts") == count
        return measured
    finally:
        await connection.close()


async def main(count: int, rounds: int) -> None:
    """Measure in turn and print the table."""
    console = Console()
    console.print(machine())
    figures: list[tuple[Figure, Figure]] = []
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
            async with service(addresses, folder, port) as process:
                api = f"http://127.0.0.1:{port}"
                with Progress(console=console, transient=True) as progress:
                    for _ in progress.track(range(rounds + 1), description="Measuring ..."):
                        alone = await bare(url, count)
                        figures.append((await dispatch(addresses.db_url, api, process, count), alone))
    figures = figures[1:]  # the first round warms up
    title = f"{count:,} messages, {IN_FLIGHT} in flight, {rounds} rounds"
    table = Table("", "messages/s (median)", "least", "most", "CPU µs/message (median)", title=title)
    for row, values in (
        ("dispatcher", [a for a, _ in figures]),
        ("bare client loop", [b for _, b in figures]),
    ):
        rates, costs = [v.per_second for v in values], [v.cpu_microseconds for v in values]
        table.add_row(
            row,
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f}",
            f"{max(rates):,.0f}",
            f"{statistics.median(costs):.0f}",
        )
    ratios = [a.per_second / b.per_second for a, b in figures]
    table.add_row("ratio", f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}", f"{max(ratios):.2f}", "")
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="messages a round (default: 50000)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default: 5)")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.count, arguments.rounds))
