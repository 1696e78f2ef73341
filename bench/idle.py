"""At rest: CPU and memory of one replica at the default interval with nothing to send."""

import argparse
import asyncio
import tempfile
from pathlib import Path

import httpx2
import uvloop
from rich.console import Console

from bench.figure import cpu
from bench.machine import free_port, machine
from bench.receiver import receiver
from bench.service import service
from dispatcher.embedded.servers import embedded_servers
from dispatcher.kernel.etcd import connected

SETTLE_SECONDS = 5.0
"""What a start leaves to do is not what is measured."""


async def main(seconds: float) -> None:
    """Measure and print one line."""
    console = Console()
    console.print(machine())
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name, receiver(free_port()) as url:
        async with (
            embedded_servers(Path(name), postgres=True, redis=True, etcd=True) as addresses,
            service(addresses, Path(name), url) as replica,
            httpx2.AsyncClient() as client,
        ):
            assert addresses.etcd_endpoints
            async with connected(addresses.etcd_endpoints[0]) as etcd:
                await etcd.delete(b"/app/config/scheduler_interval")
                await etcd.delete(b"/app/config/rate_limit")
            await client.post(f"{replica.api}/start")
            await asyncio.sleep(SETTLE_SECONDS)
            before = cpu([replica.process])
            await asyncio.sleep(seconds)
            used = (cpu([replica.process]) - before) / seconds
            memory = replica.process.memory_info().rss / 2**20
    console.print(f"at rest for {seconds:.0f} s: {used:.2%} of a core, {memory:.0f} MiB resident")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure (default: 60)")
    uvloop.run(main(parser.parse_args().seconds))
