"""Chat without sockets: a page of history among many messages, and sends per second, of one conversation and of many.

A PostgreSQL of its own (fsync on, 128 MB of shared buffers), filled month by month; the machine has room for all of it in
its memory. A page is what `GET /messages` asks of Postgres: the seat, the
page, who is furthest behind. Sends go through `Sender`, so that those that come meanwhile share a commit.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.machine import machine
from dispatcher.chat import history
from dispatcher.chat.history import Page, Span
from dispatcher.chat.months import PARENT, Month
from dispatcher.chat.seat import Seat, find_seat
from dispatcher.chat.send import NewChatMessage, Sender
from dispatcher.chat.status import find_hindmost
from dispatcher.embedded.servers import embedded_servers
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.migrate import migrate
from dispatcher.kernel.partitions import make_partition

MONTHS = 12
PAGE = 50
WAITING = 64

PEOPLE = """
INSERT INTO users (id) SELECT 'u' || n FROM generate_series(0, $1::int) n
"""
PLACES = """
WITH opened AS (
    INSERT INTO conversations (kind, low_user, high_user, last_seq, last_id, member_count)
    SELECT 'dm', 'u0', 'u' || n, $2::bigint, $3::bigint + ($2::bigint - 1) * $4::bigint + n, 2
    FROM generate_series(1, $1::int) n RETURNING id, low_user, high_user
)
INSERT INTO members (conversation_id, user_id, joined_seq, joined_id, delivered_seq, read_seq)
SELECT id, who, 0, $3, 0, 0 FROM opened, unnest(ARRAY[low_user, high_user]) AS who
"""
MESSAGES = """
INSERT INTO chat_messages (conversation_id, id, seq, sender_id, client_id, content)
SELECT n, $1::bigint + (seq - 1) * $2::bigint + n, seq, 'u' || CASE WHEN seq % 2 = 0 THEN 0 ELSE n END,
       md5(n::text || seq), 'See you at the station, the one near the old bridge, at ' || seq
FROM generate_series($4::bigint, $5::bigint) seq, generate_series(1, $3::int) n
"""
SIZE = "SELECT pg_size_pretty(sum(pg_total_relation_size(inhrelid))) FROM pg_inherits WHERE inhparent = 'chat_messages'::regclass"


@asynccontextmanager
async def filled(folder: Path, *, conversations: int, each: int) -> AsyncIterator[tuple[Pool, int]]:
    """A database of that many messages, and how far apart two of a conversation are, in ids."""
    first = Month(utc_now().date().replace(day=1)).plus(-MONTHS)
    async with embedded_servers(folder, postgres=True, redis=False, etcd=False) as addresses:
        url = addresses.db_url
        assert url is not None
        await migrate(url)
        async with connected_pool(url, application="bench", size=10) as pool:
            async with pool.acquire() as connection:
                for offset in range(MONTHS - 1):
                    month = first.plus(offset)
                    await make_partition(
                        connection, PARENT, month.name, begins=month.begins, ends=month.plus(1).begins
                    )
            step = (first.plus(MONTHS).begins - first.begins) // each
            await pool.execute(PEOPLE, conversations)
            await pool.execute(PLACES, conversations, each, first.begins, step, timeout=600)
            with Progress(transient=True) as progress:
                for seq in progress.track(range(1, each + 1, 5), description="filling"):
                    last = min(seq + 4, each)
                    await pool.execute(MESSAGES, first.begins, step, conversations, seq, last, timeout=600)
            await pool.execute("VACUUM ANALYZE", timeout=1800)
            # what has just been written is read once: how long a disk takes says nothing of the service
            await pool.execute("SELECT sum(length(content)) FROM chat_messages", timeout=600)
            yield pool, step


async def pages(pool: Pool, *, conversations: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each page, in turn over conversations drawn anew."""
    choose = random.Random(1)  # noqa: S311 - a draw, no secret
    now = utc_now()
    month = Span(now - timedelta(days=180), now - timedelta(days=90))

    def middle(seat: Seat) -> int:
        return seat.joined_id + (seat.last_id - seat.joined_id) // 2

    asked: dict[str, Callable[[Seat], Awaitable[Page]]] = {
        "newest": lambda seat: history.newest(pool, seat, limit=PAGE),
        "oldest": lambda seat: history.after(pool, seat, 0, limit=PAGE),
        "middle": lambda seat: history.before(pool, seat, middle(seat), limit=PAGE),
        "around": lambda seat: history.around(pool, seat, middle(seat), limit=PAGE),
        "a span of time": lambda seat: history.newest(pool, seat, limit=PAGE, span=month),
    }
    took: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(rounds):
        for name, ask in asked.items():
            place = choose.randint(1, conversations)
            began = time.perf_counter()
            seat = await find_seat(pool, place, "u0")
            page = await ask(seat)
            await find_hindmost(pool, place)
            if number >= rounds // 10:
                took[name].append((time.perf_counter() - began) * 1000)
            assert page.messages, name
    return took


async def sends(pool: Pool, *, over: int, waiting: int, seconds: float) -> tuple[float, float, float]:
    """Messages per second, commits per second, and the median milliseconds of a send, into `over` conversations."""
    sender = Sender(pool, lambda _: None)
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def one(number: int) -> None:
        count = 0
        while time.perf_counter() < until:
            place = 1 + (number + count * waiting) % over
            count += 1
            began = time.perf_counter()
            await sender.send(NewChatMessage(place, "u0", "On my way", f"{began}-{number}"))
            took.append((time.perf_counter() - began) * 1000)

    commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    async with background("sender", sender.run):
        before = await pool.fetchval(commits)
        await asyncio.gather(*(one(number) for number in range(waiting)))
        await pool.execute("SELECT pg_stat_force_next_flush()")
        after = await pool.fetchval(commits)
    return len(took) / seconds, (after - before) / seconds, statistics.median(took)


async def run(*, conversations: int, each: int, rounds: int, seconds: float) -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as folder:
        async with filled(Path(folder), conversations=conversations, each=each) as (pool, _):
            size = await pool.fetchval(SIZE)
            console.print(f"{conversations * each:,} messages in {conversations:,} conversations, {size}")
            table = Table("page of 50", "p50 ms", "p99 ms", "most ms", box=None)
            for name, took in (await pages(pool, conversations=conversations, rounds=rounds)).items():
                ordered = sorted(took)
                table.add_row(
                    name,
                    f"{statistics.median(ordered):.2f}",
                    f"{ordered[int(len(ordered) * 0.99)]:.2f}",
                    f"{ordered[-1]:.2f}",
                )
            console.print(table)
            table = Table("sends", "at a time", "messages/s", "commits/s", "p50 ms", box=None)
            for over, waiting in ((1, 1), (1, WAITING), (conversations, 1), (conversations, WAITING)):
                rate, commits, median = await sends(pool, over=over, waiting=waiting, seconds=seconds)
                where = "one conversation" if over == 1 else "many"
                table.add_row(where, str(waiting), f"{rate:,.0f}", f"{commits:,.0f}", f"{median:.2f}")
            console.print(table)
            console.print(machine())


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=200, help="messages of each conversation")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    uvloop.run(
        run(conversations=given.conversations, each=given.each, rounds=given.rounds, seconds=given.seconds)
    )


if __name__ == "__main__":
    main()
