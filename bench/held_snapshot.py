"""A snapshot held open: messages per second before and while another session sits idle in a transaction.

While a snapshot is held, vacuum can remove nothing that died since; a queue that walks over its dead rows gets slower
with every message. A producer keeps tens of thousands of messages waiting, one replica sends as fast as it can, the
receiver counts. After the time without, a REPEATABLE READ transaction reads one row and then does nothing.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import httpx2
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from bench.arrivals import Arrivals, arrivals
from bench.machine import free_port, machine
from bench.receiver import receiver
from bench.service import INSERT, Replica, service
from dispatcher.embedded.servers import embedded_servers

WAITING = 50_000
"""Messages that wait at the least."""
STEP_SECONDS = 15.0


async def produce(replica: Replica, arrived: Arrivals) -> None:
    """Insert whenever fewer than WAITING are left, until cancelled."""
    connection = await asyncpg.connect(replica.db_url)
    inserted = 0
    try:
        while True:
            if inserted - await arrived.since() < WAITING:
                await connection.execute(INSERT, WAITING)
                inserted += WAITING
            await asyncio.sleep(0.2)
    finally:
        await connection.close()


@asynccontextmanager
async def held(db_url: str) -> AsyncIterator[None]:
    """A snapshot that nobody ends during the block."""
    connection = await asyncpg.connect(db_url)
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    await connection.fetchval("SELECT id FROM messages LIMIT 1")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()


async def rates(arrived: Arrivals, seconds: float) -> list[float]:
    """Messages per second of each step of this time."""
    found = []
    for _ in range(max(1, round(seconds / STEP_SECONDS))):
        before, began = await arrived.since(), time.perf_counter()
        await asyncio.sleep(min(STEP_SECONDS, seconds))
        found.append((await arrived.since() - before) / (time.perf_counter() - began))
    return found


async def main(free_seconds: float, held_seconds: float) -> dict[str, object]:
    """Measure and print; the description of the picture."""
    console = Console()
    console.print(machine())
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name, receiver(free_port()) as url:
        async with (
            embedded_servers(Path(name), postgres=True, redis=True, etcd=True) as addresses,
            service(addresses, Path(name), url) as replica,
            arrivals(url) as arrived,
            httpx2.AsyncClient() as client,
        ):
            producer = asyncio.create_task(produce(replica, arrived))
            await client.post(f"{replica.api}/start")
            await arrived.wait_for(WAITING // 2, seconds=60)
            without = await rates(arrived, free_seconds)
            async with held(replica.db_url):
                under = await rates(arrived, held_seconds)
            after = await rates(arrived, free_seconds)
            producer.cancel()
            with suppress(asyncio.CancelledError):
                await producer
            await client.post(f"{replica.api}/stop")
    ratio = statistics.median(under) / statistics.median(without)
    last = statistics.median(under[-4:]) / statistics.median(without)
    drawn = Table(title=f"Messages per second, steps of {STEP_SECONDS:.0f} s", box=box.SIMPLE_HEAD)
    for heading in ("", "median", "steps"):
        drawn.add_column(heading)
    for label, steps in (("before", without), ("snapshot held", under), ("after", after)):
        drawn.add_row(label, f"{statistics.median(steps):,.0f}", " ".join(f"{step:,.0f}" for step in steps))
    console.print(drawn)
    console.print(f"held ÷ before: {ratio:.2f}; of the last minute held: {last:.2f}")
    return {
        "title": "Throughput while a snapshot is held open",
        "subtitle": f"messages per second, steps of {STEP_SECONDS:.0f} s",
        "kind": "columns",
        "rows": [
            {"label": label if not place else "", "ours": label == "held", "values": [round(step)]}
            for label, steps in (("before", without), ("held", under), ("after", after))
            for place, step in enumerate(steps)
        ],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--free", type=float, default=60.0, help="seconds before and after (default: 60)")
    parser.add_argument("--held", type=float, default=300.0, help="seconds held (default: 300)")
    parser.add_argument("--json", type=Path, help="where to write the picture's description")
    arguments = parser.parse_args()
    picture = uvloop.run(main(arguments.free, arguments.held))
    if arguments.json:
        arguments.json.write_text(json.dumps(picture, indent=1))
