"""Dispatch: messages per second from 50,000 pending rows, beside the bare client loop, in turn, in one run.

Everything runs on this machine: Postgres, Redis, etcd, the receiver and one replica with all its features on
(attempts kept, receipts, fencing, logs at info, written to a file). The bare loop is the same client against the
same receiver with the same requests in flight, and no database.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import psutil
import uvloop
from pyreqwest.client import ClientBuilder
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.arrivals import arrivals
from bench.figure import Figure, cpu, figure
from bench.machine import free_port, machine
from bench.receiver import receiver
from bench.service import IN_FLIGHT, dispatch, service
from dispatcher.embedded.servers import embedded_servers


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

    us = [psutil.Process()]
    async with client:
        began, cpu_before = time.perf_counter(), cpu(us)
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(worker())
        return figure(us, cpu_before, count, time.perf_counter() - began)


async def main(count: int, rounds: int) -> None:
    """Measure in turn and print the table."""
    console = Console()
    console.print(machine())
    figures: list[tuple[Figure, Figure]] = []
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name, receiver(free_port()) as url:
        folder = Path(name)
        async with (
            embedded_servers(folder, postgres=True, redis=True, etcd=True) as addresses,
            service(addresses, folder, url) as replica,
            arrivals(url) as arrived,
        ):
            with Progress(console=console, transient=True) as progress:
                for _ in progress.track(range(rounds + 1), description="Measuring ..."):
                    alone = await bare(url, count)
                    figures.append((await dispatch(replica, arrived, count), alone))
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
