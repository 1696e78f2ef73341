"""Messages per second of Dispatcher beside its peers, in turn, in one run: `make bench-peers`.

The same for all: PostgreSQL with fsync and synchronous_commit on, and a database of its own in the same cluster;
the same receiver in a process of its own; 64 requests in flight; the same JSON body; a queue that is full before
the start; every message claimed and settled durably. A round lasts from the start of the worker, which is
connected to nothing before, until Postgres holds the last result. Counts of received messages are checked.
How each peer was tuned is said in its driver.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from rich.console import Console
from rich.progress import Progress

from bench.arrivals import Arrivals, arrivals
from bench.figure import Figure
from bench.machine import free_port, machine
from bench.peers.driver import Running, running
from bench.peers.field import Peer, field
from bench.peers.report import Row, result, table
from bench.receiver import receiver
from bench.service import IN_FLIGHT, dispatch, service
from dispatcher.embedded.servers import embedded_servers

Measure = Callable[[Arrivals, int], Awaitable[Figure]]


async def start(peer: Peer, stack: AsyncExitStack, db_url: str, webhook_url: str, folder: Path) -> Running:
    """The peer's processes, idle, on a database of their own."""
    database = peer.name.replace("-", "_")
    connection = await asyncpg.connect(db_url)
    await connection.execute(f"CREATE DATABASE {database}")
    await connection.close()
    own = db_url.replace("/dispatcher?", f"/{database}?")
    command = [*peer.command, own, webhook_url, str(IN_FLIGHT // peer.processes), *peer.options]
    started = running([command] * peer.processes, own, peer.left, folder / f"{peer.name}.log")
    return await stack.enter_async_context(started)


async def compare(peers: list[Peer], count: int, rounds: int, console: Console) -> tuple[str, list[Row]]:
    """PostgreSQL's version, and every row: Dispatcher's first."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dispatcher-bench-")))
        url = stack.enter_context(receiver(free_port()))
        servers = embedded_servers(folder, postgres=True, redis=True, etcd=True)
        addresses = await stack.enter_async_context(servers)
        assert addresses.db_url
        arrived = await stack.enter_async_context(arrivals(url))
        replica = await stack.enter_async_context(service(addresses, folder, url))
        ours = Row("Dispatcher", f"{version('dispatcher')}, all features", count, ours=True)
        rows = [ours]
        sides: list[tuple[Row, Measure]] = [(ours, partial(dispatch, replica))]
        for peer in peers:
            row = Row(peer.label, peer.note, int(count * peer.share))
            rows.append(row)
            if peer.version is not None:
                row.note = f"{peer.version}, {peer.note}" if peer.version else peer.note
                sides.append((row, (await start(peer, stack, addresses.db_url, url, folder)).measure))
        with Progress(console=console, transient=True) as progress:
            ahead = progress.add_task("Measuring ...", total=(rounds + 1) * len(sides))
            for number in range(rounds + 1):
                for row, measure in sides:
                    progress.update(ahead, description=f"{row.label}, {row.note} ...")
                    figure = await measure(arrived, row.count)
                    if number > 0:  # the first round warms up
                        row.figures.append(figure)
                    progress.advance(ahead)
        connection = await asyncpg.connect(addresses.db_url)
        postgres = str(await connection.fetchval("SHOW server_version"))
        await connection.close()
        return postgres, rows


async def main(count: int, rounds: int, only: list[str] | None) -> dict[str, Any]:
    """Measure and print the table. What the JSON holds."""
    console = Console()
    peers = [peer for peer in field() if not only or peer.name in only]
    postgres, rows = await compare(peers, count, rounds, console)
    title = "Messages delivered per second, claimed and settled durably"
    subtitle = f"{IN_FLIGHT} requests in flight; Postgres and receiver on the same machine; median, least and most of {rounds} rounds"
    about = f"{machine()}, PostgreSQL {postgres}"
    caption = f"{subtitle}; CPU time of the worker's processes a message"
    console.print(table(rows, title=title, caption=caption))
    console.print(about)
    today = datetime.now(UTC).date()
    return result(
        {
            "title": title,
            "subtitle": subtitle,
            "unit": "messages/s",
            "foot": f"{today}, {os.cpu_count()} cores, {platform.machine()}, PostgreSQL {postgres}",
            "machine": about,
            "date": str(today),
        },
        rows,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--count", type=int, default=50_000, help="messages a round of the fast ones (default: 50000)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default: 5)")
    parser.add_argument(
        "--only",
        nargs="*",
        metavar="PEER",
        choices=[peer.name for peer in field()],
        help="only these beside Dispatcher",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures, and what bench.picture draws"
    )
    arguments = parser.parse_args()
    measured = uvloop.run(main(arguments.count, arguments.rounds, arguments.only))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(measured, indent=2) + "\n")
