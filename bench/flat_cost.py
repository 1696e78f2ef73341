"""Flat cost: what a claim of 1,000 messages costs when the tables are small, and when they are very large.

For each size a PostgreSQL of its own is filled, vacuumed and analysed; then the very statement of `messages/claim.py`
runs on each in turn under EXPLAIN (ANALYZE, BUFFERS), in a transaction that is rolled back. Sizes, pending / due next
year / sent: 10,000 / 0 / 0, then as large as asked. Medians; the ratio is to the small one.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import uvloop
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.machine import machine
from dispatcher.delivery import schedule
from dispatcher.delivery.pace import Pace
from dispatcher.embedded.servers import embedded_servers
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.migrate import migrate
from dispatcher.messages.claim import CLAIM, claim_arguments
from dispatcher.messages.frontier import Frontier

LANE = "webhook"
LIMIT = 1000
RUNS = 25
WARM_UP = 5
STEP = 1_000_000
PACE = Pace(
    rate_limit=LIMIT,
    interval=timedelta(seconds=1),
    queue_capacity=1,
    auto_sending=True,
    blocked=None,
    probing=None,
)
PENDING = """
INSERT INTO messages (recipient_phone, content, deliver_at)
SELECT '+90555' || lpad(n::text, 8, '0'), 'Your code is ' || n, now() + $3::interval + n * interval '1 microsecond'
FROM generate_series($1::bigint, $2::bigint) AS n
"""
SENT = """
INSERT INTO messages (recipient_phone, content, state, sent_status, sent_at, deliver_at, attempt_count, receipt_id)
SELECT '+90555' || lpad(n::text, 8, '0'), 'Your code is ' || n, 'sent', true,
       now() - n * interval '1 millisecond', now() - interval '1 day', 1, '67f2f8a8-ea58-4ed0-a6f9-ff217df4d849'
FROM generate_series($1::bigint, $2::bigint) AS n
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = 'messages_sent'"


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is."""

    pending: int
    next_year: int
    sent: int

    def __str__(self) -> str:
        return f"{self.pending:,} / {self.next_year:,} / {self.sent:,}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a claim took, medians."""

    milliseconds: float
    buffers: float


async def fill(pool: Pool, size: Size, progress: Progress) -> None:
    """Fill the tables; the indexes of what is sent are built at the end, which is quicker."""
    bar = progress.add_task(f"Filling {size}", total=size.pending + size.next_year + size.sent)

    async def insert(statement: str, count: int, *more: object) -> None:
        for first in range(0, count, STEP):
            last = min(first + STEP, count)
            await pool.execute(statement, first + 1, last, *more, timeout=600)
            progress.advance(bar, last - first)

    await insert(PENDING, size.pending, timedelta(hours=-1))
    await insert(PENDING, size.next_year, timedelta(days=365))
    indexes = [row["indexdef"] for row in await pool.fetch(INDEXES)] if size.sent else []
    for definition in indexes:
        await pool.execute(f"DROP INDEX {definition.split()[2]}")
    await insert(SENT, size.sent)
    for definition in indexes:
        await pool.execute(definition.replace(" ON ONLY ", " ON "), timeout=1800)
    await pool.execute("VACUUM (ANALYZE, PARALLEL 0) messages", timeout=1800)
    await pool.execute("CHECKPOINT", timeout=600)
    progress.remove_task(bar)


async def claim_cost(pool: Pool) -> Cost:
    """One claim, planned and executed as the service does it, and undone."""
    arguments = claim_arguments(LANE, Frontier().search(0.0), limit=LIMIT, lease_id=uuid4(), lease_seconds=30)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {CLAIM}", *arguments)
        await transaction.rollback()
    plan = json.loads(explained)[0]
    assert plan["Plan"]["Actual Rows"] == LIMIT
    buffers = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return Cost(plan["Planning Time"] + plan["Execution Time"], buffers)


@asynccontextmanager
async def filled(size: Size, progress: Progress) -> AsyncIterator[Pool]:
    """A database of this size, made for it."""
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name:
        async with embedded_servers(Path(name), postgres=True, redis=False, etcd=False) as addresses:
            assert addresses.db_url
            administrator = await asyncpg.connect(addresses.db_url)
            for setting in ("fsync = off", "max_wal_size = '8GB'", "maintenance_work_mem = '1GB'"):
                await administrator.execute(f"ALTER SYSTEM SET {setting}")
            await administrator.execute("SELECT pg_reload_conf()")
            await administrator.close()
            await migrate(addresses.db_url)
            async with connected_pool(addresses.db_url, application="bench", size=2) as pool:
                await schedule.create(pool, LANE, PACE, None)
                await fill(pool, size, progress)
                yield pool


async def main(pending: int, sent: int) -> None:
    """Measure each size and print the table."""
    console = Console()
    console.print(machine())
    sizes = [Size(10_000, 0, 0), Size(pending, 0, sent), Size(10_000, pending, 0)]
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        with Progress(console=console, transient=True) as progress:
            pools = [await stack.enter_async_context(filled(size, progress)) for size in sizes]
        runs = [[await claim_cost(pool) for pool in pools] for _ in range(RUNS)]
    # the first ones read from disk what a running service has in memory
    costs = [
        Cost(
            statistics.median(one.milliseconds for one in each),
            statistics.median(one.buffers for one in each),
        )
        for each in zip(*runs[WARM_UP:], strict=True)
    ]
    drawn = Table(title=f"A claim of {LIMIT:,}, median of {RUNS - WARM_UP} runs", box=box.SIMPLE_HEAD)
    drawn.add_column("pending / due next year / sent", no_wrap=True)
    for heading in ("ms", "÷ small", "shared buffers", "÷ small"):
        drawn.add_column(heading, justify="right")
    for size, found in zip(sizes, costs, strict=True):
        drawn.add_row(
            str(size),
            f"{found.milliseconds:.1f}",
            f"{found.milliseconds / costs[0].milliseconds:.2f}",
            f"{found.buffers:,.0f}",
            f"{found.buffers / costs[0].buffers:.2f}",
        )
    console.print(drawn)
    console.print(f"in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pending", type=int, default=10_000_000, help="the large size (default: 10000000)")
    parser.add_argument("--sent", type=int, default=50_000_000, help="the large size (default: 50000000)")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.pending, arguments.sent))
