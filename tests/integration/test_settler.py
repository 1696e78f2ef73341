"""The settler: a known outcome is written, whatever Postgres and Redis do meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from tests.integration.rows import LANE, PACE, put, result, states, until, until_true

from dispatcher.delivery import schedule
from dispatcher.delivery.settler import Settler
from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.messages.claim import ClaimedMessage, claim
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.settle import Settlement
from dispatcher.messages.state import State

ABSENT = "redis://127.0.0.1:1"


class Owner:
    """Remembers what it was told of each message."""

    def __init__(self) -> None:
        self.kept: dict[int, bool] = {}

    def settled(self, result: Settlement, *, kept: bool) -> None:
        assert result.message_id not in self.kept, "told once"
        self.kept[result.message_id] = kept


@asynccontextmanager
async def settling(pool: Pool, redis_url: str) -> AsyncIterator[Settler]:
    redis = BoundedRedis(redis_url, password=None, db=0)
    settler = Settler(pool, redis, RecentSent(redis), lane=LANE, replica="r")
    try:
        async with background("settler", settler.run):
            yield settler
    finally:
        await redis.close()


async def claimed(pool: Pool, count: int) -> list[ClaimedMessage]:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, count)
    return await claim(pool, LANE, limit=count, lease_seconds=60)


async def submit(settler: Settler, owner: Owner, results: list[Settlement]) -> None:
    for one in results:
        if not settler.submit(one, owner):
            await settler.room()


async def test_results_are_written_and_their_owner_told(pool: Pool, redis_url: str) -> None:
    messages, owner = await claimed(pool, 2500), Owner()
    async with settling(pool, redis_url) as settler:
        await submit(settler, owner, [result(message) for message in messages])
        await until(lambda: len(owner.kept) == 2500)
        assert all(owner.kept.values())
        assert await states(pool) == {"sent": 2500}
        async with Redis.from_url(redis_url) as connection:
            keys = await connection.keys("dispatcher:receipts:*")
            batches = [batch for key in keys for batch in await connection.lrange(key, 0, -1)]
            assert sum(len(orjson.loads(batch)) for batch in batches) == 2500
            assert all([0 < await connection.ttl(key) <= 3600 for key in keys])


async def test_more_than_the_backlog_waits_and_gets_through(pool: Pool) -> None:
    messages, owner = await claimed(pool, 5000), Owner()
    async with settling(pool, ABSENT) as settler, pool.acquire() as other:
        locked = other.transaction()
        await locked.start()
        await other.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", messages[0].id)
        group = asyncio.gather(*(submit(settler, owner, [result(message)]) for message in messages))
        await locked.commit()
        await group
        await until(lambda: len(owner.kept) == 5000)
    assert await states(pool) == {"sent": 5000}


async def test_a_lost_lease_is_told_and_the_others_are_kept(pool: Pool) -> None:
    messages, owner = await claimed(pool, 3), Owner()
    results = [result(message) for message in messages]
    results[1] = result(messages[1], lease_id=uuid4())
    with capture_logs() as logs:
        async with settling(pool, ABSENT) as settler:
            await submit(settler, owner, results)
            await until(lambda: len(owner.kept) == 3)
    assert owner.kept == {messages[0].id: True, messages[1].id: False, messages[2].id: True}
    assert [line["message_id"] for line in logs if line["event"] == "settlement_too_late"] == [messages[1].id]


@pytest.mark.parametrize("poison", [{"excerpt": "\x00"}, {"error": "\ud800"}, {"status": 70_000}])
async def test_a_result_that_postgres_refuses_takes_no_other_with_it(
    pool: Pool, poison: dict[str, object]
) -> None:
    messages, owner = await claimed(pool, 40), Owner()
    results = [result(message) for message in messages]
    results[17] = result(messages[17], State.FAILED, **poison)
    async with settling(pool, ABSENT) as settler:
        await submit(settler, owner, results)
        await until(lambda: len(owner.kept) == 40)
    assert [message.id for message in messages if not owner.kept[message.id]] == [messages[17].id]
    assert await states(pool) == {"sent": 39, "sending": 1}, "its lease runs out, and it is rescued"


async def test_a_restart_of_postgres_forgets_no_result(own_pool: Pool, own_servers: RunningServers) -> None:
    messages, owner = await claimed(own_pool, 30), Owner()
    assert own_servers.postgres is not None
    with capture_logs() as logs:
        async with settling(own_pool, ABSENT) as settler:
            await own_servers.postgres.stop()
            await submit(settler, owner, [result(message) for message in messages])
            await until(lambda: any(line["event"] == "settle_waits_for_postgres" for line in logs))
            assert not owner.kept
            await own_servers.postgres.start()
            await until(lambda: len(owner.kept) == 30, seconds=20)
    assert all(owner.kept.values())
    assert await states(own_pool) == {"sent": 30}
    assert await own_pool.fetchval("SELECT count(*) FROM attempts") == 30


async def test_a_crash_of_postgres_in_the_middle_of_a_write_forgets_no_result(
    own_pool: Pool, own_servers: RunningServers
) -> None:
    messages, owner = await claimed(own_pool, 30), Owner()
    assert own_servers.postgres is not None

    async def write_waits() -> bool:
        return bool(
            await own_pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%leaving AS%'"
            )
        )

    assert own_servers.addresses.db_url is not None
    holder = await asyncpg.connect(own_servers.addresses.db_url)
    await holder.execute("BEGIN; SELECT FROM messages WHERE id = (SELECT max(id) FROM messages) FOR UPDATE")
    async with settling(own_pool, ABSENT) as settler:
        await submit(settler, owner, [result(message) for message in messages])
        await until_true(write_waits)
        await own_servers.postgres.stop(kill=True)
        await own_servers.postgres.start()
        holder.terminate()
        await until(lambda: len(owner.kept) == 30, seconds=20)
    assert all(owner.kept.values())
    assert await states(own_pool) == {"sent": 30}


async def test_retries_are_due_later(pool: Pool) -> None:
    (message,), owner = await claimed(pool, 1), Owner()
    async with settling(pool, ABSENT) as settler:
        await submit(settler, owner, [result(message, State.PENDING, retry_in=timedelta(seconds=30))])
        await until(lambda: owner.kept == {message.id: True})
    wait = await pool.fetchval("SELECT deliver_at - now() FROM messages")
    assert timedelta(seconds=20) < wait <= timedelta(seconds=30)


async def test_results_wait_while_postgres_is_read_only(own_pool: Pool) -> None:
    messages, owner = await claimed(own_pool, 20), Owner()
    database = await own_pool.fetchval("SELECT current_database()")
    await own_pool.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    await own_pool.expire_connections()
    with capture_logs() as logs:
        async with settling(own_pool, ABSENT) as settler:
            await submit(settler, owner, [result(message) for message in messages])
            await until(lambda: any(line["event"] == "settle_waits_for_postgres" for line in logs))
            async with own_pool.acquire() as connection:
                await connection.execute("SET default_transaction_read_only = off")
                await connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
            await own_pool.expire_connections()
            await until(lambda: len(owner.kept) == 20)
    assert all(owner.kept.values())
