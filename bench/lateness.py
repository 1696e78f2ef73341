"""Lateness: how long after its time a message's line arrives at whoever reads the console.

One replica with all its features on prints to a pipe, as JSON. Everything is put in by SQL before it is claimed, except
what is put in for 50 ms later. A line has arrived when the read of the pipe that brought its end came back; when it
was due is what Postgres holds. Both clocks are the machine's own, which is checked first.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import orjson
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from bench.late import LEAST_MS, QUANTILES, Late
from bench.machine import free_port, machine
from bench.printed import Printed
from bench.receiver import receiver
from bench.service import Replica, service
from dispatcher.delivery.timekeeper import AHEAD_SECONDS, POLL_SECONDS
from dispatcher.embedded.servers import embedded_servers

WIDE = 140
"""Columns of the table, wherever it goes."""
LATER = 1_000_000
AT_ONCE = 10_000
SOON = timedelta(milliseconds=50)
MILLISECOND = timedelta(milliseconds=1)
WAIT_SECONDS = 30.0
"""How late the last line may be before the run is given up."""
STEADY_MARKS = {"median": 5.0, "p99": 25.0}
SECOND_MARKS = {"p99": 50.0}
DOCUMENTED = (
    ("Oban", "jobs are staged every second", 1),
    ("River", "jobs are promoted every 5 seconds", 5),
    ("EventBridge Scheduler", "60 second precision", 60),
)
"""How exact others say they are, in seconds; docs/benchmarks.md says where."""
LIVE = {"auto_sending": "true", "scheduler_interval": "120"}
"""The webhook lane at rest, the console lane running."""

INSERT = """
INSERT INTO messages (lane, recipient_phone, content, deliver_at)
SELECT 'console', 'console', 'Your code is ' || n, $1::timestamptz + n * $2::interval
FROM generate_series(0, $3::integer - 1) AS n RETURNING id, deliver_at
"""
INSERT_SOON = """
INSERT INTO messages (lane, recipient_phone, content, deliver_at)
VALUES ('console', 'console', 'Your code is 481516', clock_timestamp() + $1::interval) RETURNING id, deliver_at
"""
LEFT = (
    "SELECT EXISTS (SELECT FROM messages WHERE state = 'sending' OR state = 'pending' AND deliver_at < now())"
)

Due = dict[int, datetime]
"""When each message that was put in is due, by its id."""


class Bench:
    """One replica and its console, and a connection to put messages in by."""

    def __init__(
        self, replica: Replica, printed: Printed, postgres: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        self._replica = replica
        self._printed = printed
        self._postgres = postgres

    async def clocks_apart(self) -> str:
        """How far Postgres's clock is from ours: the best of many looks."""
        looks = []
        for _ in range(500):
            began = time.time()
            now = await self._postgres.fetchval("SELECT clock_timestamp()")
            ended = time.time()
            looks.append((ended - began, now.timestamp() - (began + ended) / 2))
        round_trip, apart = min(looks)
        return f"Postgres's clock is {apart * 1e3:+.3f} ms from the reader's (±{round_trip * 500:.3f} ms)"

    async def measure(self, late: Late, put_in: Callable[[], Awaitable[Due]]) -> None:
        """One round: every message is printed once, and settled."""
        due = await put_in()
        last = max(due.values()).timestamp()
        while self._printed.lines < len(due):
            assert time.time() < last + WAIT_SECONDS, f"{self._printed.lines} of {len(due)} lines arrived"
            await asyncio.sleep(0.2)
        while await self._postgres.fetchval(LEFT):
            await asyncio.sleep(0.05)
        found, said = dict[int, float](), list[float]()
        lines = self._printed.take()
        for line in lines:
            ours = orjson.loads(line.text)["dispatcher"]
            found[ours["message_id"]] = line.at - due[ours["message_id"]].timestamp()
            said.append(ours["late_ms"])
        assert len(lines) == len(due), "some were printed twice"
        assert found.keys() == due.keys()
        late.rounds.append([seconds * 1e3 for seconds in found.values()])
        late.said.append(said)

    async def ahead(self, count: int, apart: timedelta) -> Due:
        """Put them in by SQL, due one after the other, before the first of them can be claimed."""
        lead = timedelta(seconds=AHEAD_SECONDS + 1 + count / 10_000)
        first = await self._postgres.fetchval("SELECT now() + $1::interval", lead)
        due = _due(await self._postgres.fetch(INSERT, first, apart, count))
        assert await self._postgres.fetchval(
            "SELECT now() < $1::timestamptz - $2::interval", first, timedelta(seconds=AHEAD_SECONDS)
        ), "putting them in took too long"
        return due

    async def by_sql(self, count: int) -> Due:
        """Put one after the other in by SQL for SOON, whenever the timekeeper has looked last."""
        due: Due = {}
        for number in range(count):
            due |= _due(await self._postgres.fetch(INSERT_SOON, SOON))
            await asyncio.sleep(_gap(number))
        return due

    async def by_api(self, count: int) -> Due:
        """The same through the API."""
        due: Due = {}
        async with httpx2.AsyncClient(base_url=self._replica.api) as client:
            for number in range(count):
                at = datetime.now(UTC) + SOON
                answer = await client.post("/echoAtTime", json={"time": at.isoformat(), "message": "Hello"})
                due[answer.raise_for_status().json()["id"]] = at
                await asyncio.sleep(_gap(number))
        return due

    async def fill(self) -> None:
        """Put in what is due next year."""
        next_year = datetime.now(UTC) + timedelta(days=365)
        await self._postgres.execute(f"WITH later AS ({INSERT}) SELECT", next_year, MILLISECOND, LATER)
        await self._postgres.execute("VACUUM ANALYZE messages")
        await self._postgres.execute("CHECKPOINT")


def _due(rows: list[asyncpg.Record]) -> Due:
    return {row["id"]: row["deliver_at"] for row in rows}


def _gap(number: int) -> float:
    """Seconds between two that are put in: 0.02 … 0.08, so that they fall on every phase of the looks alike."""
    return 0.02 + 0.06 * (number * 0.618 % 1)


@asynccontextmanager
async def benches() -> AsyncIterator[Bench]:
    """A bench on servers of its own."""
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name, receiver(free_port()) as url:
        async with (
            embedded_servers(Path(name), postgres=True, redis=True, etcd=True) as addresses,
            service(addresses, Path(name), url, live=LIVE, stdout=writing) as replica,
        ):
            os.close(writing)
            postgres = await asyncpg.connect(replica.db_url)
            try:
                yield Bench(replica, Printed(reading), postgres)
            finally:
                await postgres.close()


async def main(rounds: int, seconds: int) -> dict[str, Any]:
    """Measure and print; the description of the picture."""
    console = Console(width=WIDE)
    steady = Late("1,000 a second", STEADY_MARKS)
    second = Late("10,000 within a second", SECOND_MARKS)
    instant = Late("10,000 at one instant", {})
    sql = Late("for 50 ms from now, by SQL", {"p99": POLL_SECONDS * 1e3})
    api = Late("for 50 ms from now, by the API", STEADY_MARKS)
    steady_among = Late("1,000 a second, 1,000,000 pending", STEADY_MARKS)
    second_among = Late("10,000 within a second, 1,000,000 pending", SECOND_MARKS)
    loads = (steady, second, instant, sql, api, steady_among, second_among)
    console.print(machine())
    async with benches() as bench:
        console.print(await bench.clocks_apart())
        for _ in range(rounds):
            await bench.measure(steady, lambda: bench.ahead(seconds * 1000, MILLISECOND))
            await bench.measure(second, lambda: bench.ahead(AT_ONCE, MILLISECOND / 10))
            await bench.measure(instant, lambda: bench.ahead(AT_ONCE, timedelta(0)))
            await bench.measure(sql, lambda: bench.by_sql(200))
            await bench.measure(api, lambda: bench.by_api(200))
        await bench.fill()
        for _ in range(rounds):
            await bench.measure(steady_among, lambda: bench.ahead(seconds * 1000, MILLISECOND))
            await bench.measure(second_among, lambda: bench.ahead(AT_ONCE, MILLISECOND / 10))
        console.print(await bench.clocks_apart())
    console.print(table(loads, rounds))
    return picture((steady, second, steady_among))


def table(loads: tuple[Late, ...], rounds: int) -> Table:
    """The figures."""
    drawn = Table(title=f"Milliseconds late, medians of {rounds} rounds", box=box.SIMPLE_HEAD)
    for heading in ("", "lines", "least", *QUANTILES, "said, p99", "promised"):
        drawn.add_column(heading, justify="left" if not heading else "right")
    for late in loads:
        promised = ", ".join(f"{name} ≤ {most:g}" for name, most in late.marks.items())
        kept = f"{promised}: {'kept' if late.holds else 'not kept'}" if promised else "nothing"
        figures = [late.least, *map(late.at, QUANTILES), late.said_at("p99")]
        drawn.add_row(late.name, f"{late.count:,}", *(f"{each:.2f}" for each in figures), kept)
    return drawn


def picture(loads: tuple[Late, ...]) -> dict[str, Any]:
    """The loads, above what others document of themselves."""
    others = [{"label": name, "note": note, "until": most * 1000} for name, note, most in DOCUMENTED]
    return {
        "title": "How late a message leaves",
        "subtitle": "from its time to its line at the reader of the console; logarithmic; dashed: what is promised",
        "kind": "histogram",
        "axis": [LEAST_MS, 100_000],
        "rows": [*(late.described() for late in loads), *others],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each load (default: 3)")
    parser.add_argument("--seconds", type=int, default=20, help="seconds of 1,000 a second (default: 20)")
    parser.add_argument("--json", type=Path, help="where to write the picture's description")
    arguments = parser.parse_args()
    described = uvloop.run(main(arguments.rounds, arguments.seconds))
    if arguments.json:
        arguments.json.write_text(json.dumps(described, indent=1))
