"""Ingest: POST /messages beside an empty FastAPI route of the same process, bulk, and `dispatcher send --file`.

Everything runs on this machine: Postgres (fsync on), Redis, etcd, the service with all its features on (logs at info,
written to a file), and the load generator in a process of its own.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx2
import orjson
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.load import CONNECTIONS
from bench.machine import environment, free_port, machine
from dispatcher.embedded.servers import embedded_servers

BULK = 10_000


@dataclass(slots=True)
class Figures:
    """Messages (or requests) per second, a round each."""

    empty: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    keyed: list[float] = field(default_factory=list)
    array: list[float] = field(default_factory=list)
    ndjson: list[float] = field(default_factory=list)
    file: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bodies:
    """Files with what is posted, and the file that is sent."""

    single: Path
    array: Path
    ndjson: Path
    csv: Path


def message(number: int) -> dict[str, str]:
    """One like those people send."""
    return {"recipient_phone": f"+90555{number:07}", "content": f"Your code is {number}"}


def written(folder: Path, rows: int) -> Bodies:
    """The files, made."""
    bodies = Bodies(
        folder / "single.json", folder / "array.json", folder / "lines.ndjson", folder / "messages.csv"
    )
    bodies.single.write_bytes(orjson.dumps(message(1)))
    bodies.array.write_bytes(orjson.dumps([message(number) for number in range(BULK)]))
    bodies.ndjson.write_bytes(b"\n".join(orjson.dumps(message(number)) for number in range(BULK)))
    with bodies.csv.open("w") as out:
        out.write("recipient_phone,content\n")
        out.writelines(f"+90555{number:07},Your code is {number}\n" for number in range(rows))
    return bodies


async def printed(*command: str, settings: dict[str, str] | None = None) -> str:
    """What a command prints; an error when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def load(port: int, path: str, body: Path, *options: str) -> float:
    """Requests per second, as the load generator measured them."""
    return float(await printed(sys.executable, "-m", "bench.load", str(port), path, str(body), *options))


@asynccontextmanager
async def service(settings: dict[str, str], folder: Path) -> AsyncIterator[tuple[int, int]]:
    """The service in a process of its own; its port, and the empty application's."""
    ports = free_port(), free_port()
    with (folder / "service.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.ingest_service", *map(str, ports)],
            env=settings,
            stderr=log,
        )
    try:
        async with httpx2.AsyncClient() as client:
            for url in (f"http://127.0.0.1:{ports[0]}/health", f"http://127.0.0.1:{ports[1]}/docs"):
                while True:
                    try:
                        if (await client.get(url)).status_code == 200:
                            break
                    except httpx2.TransportError:
                        assert process.poll() is None, (folder / "service.log").read_text()
                    await asyncio.sleep(0.1)
        yield ports
    finally:
        process.terminate()
        process.wait(30)


async def measure(
    figures: Figures,
    ports: tuple[int, int],
    bodies: Bodies,
    settings: dict[str, str],
    *,
    count: int,
    rows: int,
) -> None:
    """One round of everything, in turn."""
    port, empty_port = ports
    connection = await asyncpg.connect(settings["APP_DB_URL"])
    try:
        await connection.execute("TRUNCATE messages, idempotency_keys")
        figures.empty.append(await load(empty_port, "/", bodies.single, "--count", str(count)))
        figures.single.append(await load(port, "/messages", bodies.single, "--count", str(count)))
        assert await connection.fetchval("SELECT count(*) FROM messages") == count
        figures.keyed.append(await load(port, "/messages", bodies.single, "--count", str(count), "--keys"))
        assert await connection.fetchval("SELECT count(*) FROM messages") == 2 * count
        bulk = ("--count", "20", "--connections", "2")
        figures.array.append(BULK * await load(port, "/messages", bodies.array, *bulk))
        lines = ("--content-type", "application/x-ndjson")
        figures.ndjson.append(BULK * await load(port, "/messages", bodies.ndjson, *bulk, *lines))
        assert await connection.fetchval("SELECT count(*) FROM messages") == 2 * count + 40 * BULK
        await connection.execute("TRUNCATE messages, idempotency_keys")
        began = time.perf_counter()
        said = await printed(
            f"{sys.prefix}/bin/dispatcher", "send", "--file", str(bodies.csv), settings=settings
        )
        figures.file.append(rows / (time.perf_counter() - began))
        assert said == f"Inserted {rows:,} messages.\n", said
        assert await connection.fetchval("SELECT count(*) FROM messages") == rows
    finally:
        await connection.close()


async def main(count: int, rows: int, rounds: int) -> None:
    """Measure in turn and print the table."""
    console = Console()
    console.print(machine())
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name:
        folder = Path(name)
        bodies = written(folder, rows)
        async with embedded_servers(folder, postgres=True, redis=True, etcd=True) as addresses:
            settings = environment(
                addresses,
                APP_DATA_DIR=str(folder / "replica"),
                LOG_ENV="production",
                LOG_DIR=str(folder / "logs"),
            )
            async with service(settings, folder) as ports:
                with Progress(console=console, transient=True) as progress:
                    for _ in progress.track(range(rounds), description="Measuring ..."):
                        await measure(figures, ports, bodies, settings, count=count, rows=rows)
    title = f"{count:,} requests of one, 20 of {BULK:,}, a file of {rows:,}; {rounds} rounds"
    table = Table("", "messages/s (median)", "least", "most", "beside an empty route", title=title)
    for row, values in (
        (f"an empty FastAPI route, {CONNECTIONS} connections", figures.empty),
        (f"POST /messages, {CONNECTIONS} connections", figures.single),
        ("... with an Idempotency-Key each", figures.keyed),
        (f"POST /messages, an array of {BULK:,}, 2 connections", figures.array),
        (f"POST /messages, NDJSON of {BULK:,}, 2 connections", figures.ndjson),
        ("dispatcher send --file, CSV", figures.file),
    ):
        table.add_row(row, *cells(values, figures.empty))
    console.print(table)


def cells(values: Sequence[float], empty: Sequence[float]) -> tuple[str, str, str, str]:
    """Median, least, most, and the median of the rounds' ratios."""
    ratio = statistics.median(ours / theirs for ours, theirs in zip(values, empty, strict=True))
    return f"{statistics.median(values):,.0f}", f"{min(values):,.0f}", f"{max(values):,.0f}", f"{ratio:.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="requests of one message (default: 20000)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the file (default: 1000000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    given = parser.parse_args()
    uvloop.run(main(given.count, given.rows, given.rounds))
