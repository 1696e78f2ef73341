"""What keeping the tails of hot conversations in Redis would save: hit rate, milliseconds a page and a send.

Nothing in the service does this; the figures are the reason (docs/decisions/0017). People open conversations and write
into them as they do: a few far more often than most (Zipf). The cache is the simplest that could work, and wrong in two
ways that would cost more to mend: nothing keeps a page read from Postgres from being kept after a newer message, and an
edit changes nothing in it. So it looks better here than it could be.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import time
from pathlib import Path

import orjson
import uvloop
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from bench.chat_core import PAGE, filled
from bench.machine import machine
from dispatcher.chat import history
from dispatcher.chat.message import ChatMessage
from dispatcher.chat.seat import find_seat
from dispatcher.chat.send import NewChatMessage, Sender
from dispatcher.embedded.servers import embedded_servers
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background

KEPT_SECONDS = 600
AT_ONCE = 8


class Tails:
    """The newest messages of a conversation, for a while from when they were asked for."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    async def read(self, place: int) -> list[bytes]:
        """The page, newest first; empty when it is not kept."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.lrange(f"tail:{place}", 0, PAGE - 1)
            pipe.expire(f"tail:{place}", KEPT_SECONDS)
            return list((await pipe.execute())[0])

    async def keep(self, place: int, page: list[bytes]) -> None:
        """Keep a page that was read from Postgres."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(f"tail:{place}")
            pipe.rpush(f"tail:{place}", *page)
            pipe.expire(f"tail:{place}", KEPT_SECONDS)
            await pipe.execute()

    async def add(self, place: int, message: bytes) -> None:
        """Put a message that was sent in front, if this conversation is kept."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.lpushx(f"tail:{place}", message)
            pipe.ltrim(f"tail:{place}", 0, PAGE - 1)
            await pipe.execute()


def packed(message: ChatMessage) -> bytes:
    """A message as the cache has it."""
    return orjson.dumps([message.id, message.seq, message.sender_id, message.content, message.client_id])


async def use(
    pool: Pool, tails: Tails | None, places: list[int], *, sends: float
) -> tuple[list[float], list[float], float]:
    """Milliseconds of pages and of sends, and the share of pages that the cache had."""
    pages: list[float] = []
    sent: list[float] = []
    hits = 0
    sender = Sender(pool, lambda _: None)
    draw = random.Random(2)  # noqa: S311 - a draw, no secret
    waiting = iter([(place, draw.random() < sends) for place in places])
    numbers = itertools.count()

    async def page(place: int) -> bool:
        seat = await find_seat(pool, place, "u0")  # who may read is asked of Postgres either way
        if tails is not None and (kept := await tails.read(place)):
            _ = [orjson.loads(message) for message in kept]
            return True
        found = await history.newest(pool, seat, limit=PAGE)
        if tails is not None:
            await tails.keep(place, [packed(message) for message in reversed(found.messages)])
        return False

    async def send(place: int) -> None:
        outcome = await sender.send(
            NewChatMessage(place, "u0", "On my way", f"{time.time()}-{next(numbers)}")
        )
        if tails is not None:
            await tails.add(place, packed(outcome.message))

    async def person() -> None:
        nonlocal hits
        for place, writes in waiting:
            began = time.perf_counter()
            if writes:
                await send(place)
            elif await page(place):
                hits += 1
            (sent if writes else pages).append((time.perf_counter() - began) * 1000)

    async with background("sender", sender.run):
        await asyncio.gather(*(person() for _ in range(AT_ONCE)))
    return pages, sent, hits / len(pages)


async def run(*, conversations: int, each: int, operations: int, sends: float) -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as folder:
        async with (
            filled(Path(folder) / "filled", conversations=conversations, each=each) as (pool, _),
            embedded_servers(Path(folder) / "cache", postgres=False, redis=True, etcd=False) as addresses,
            Redis.from_url(str(addresses.redis_addr)) as redis,
        ):
            weights = list(itertools.accumulate(1 / place for place in range(1, conversations + 1)))
            places = random.Random(1).choices(  # noqa: S311 - a draw, no secret
                range(1, conversations + 1), cum_weights=weights, k=operations
            )
            table = Table(
                "tails in Redis", "hits", "page p50 ms", "p99", "send p50 ms", "p99", "Redis", box=None
            )
            for name, tails in (("warming up", None), ("no", None), ("yes", Tails(redis))):
                pages, sent, hits = await use(pool, tails, places, sends=sends)
                if name == "warming up":
                    continue
                memory = (await redis.info("memory"))["used_memory_human"]
                cells = [
                    f"{figure:.2f}"
                    for took in (pages, sent)
                    for figure in (statistics.median(took), p99(took))
                ]
                table.add_row(name, f"{hits:.0%}", *cells, memory)
            console.print(
                f"{conversations * each:,} messages in {conversations:,} conversations; {operations:,} pages and sends, "
                f"{sends:.0%} of them sends, {AT_ONCE} at a time"
            )
            console.print(table)
            console.print(machine())


def p99(took: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(took, n=100)[98]


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=20_000)
    parser.add_argument("--each", type=int, default=100, help="messages of each conversation")
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--sends", type=float, default=0.2, help="share of the operations that send")
    given = parser.parse_args()
    uvloop.run(
        run(
            conversations=given.conversations,
            each=given.each,
            operations=given.operations,
            sends=given.sends,
        )
    )


if __name__ == "__main__":
    main()
