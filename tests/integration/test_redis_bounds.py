"""Redis slow, gone, back or emptied: nobody waits for it, and nothing stale or foreign comes out of it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from redis.asyncio import Redis
from tests.integration.rows import LANE, until_true

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.clock import elapsed, pause
from dispatcher.kernel.errors import StartupError
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.messages.recent import RecentSent

BOUND = 0.4
AT_ONCE = 0.05

pytestmark = pytest.mark.alone


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[BoundedRedis]:
    bounded = BoundedRedis(redis_url, password=None, db=0)
    yield bounded
    await bounded.close()


@contextmanager
def frozen(servers: RunningServers) -> Iterator[None]:
    """Redis takes connections and bytes, and answers nothing."""
    assert servers.redis is not None
    pid = servers.redis.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_whoever_is_cancelled_during_a_call_ends(redis_url: str) -> None:
    """At whichever step of connecting, sending and reading; redis itself may keep it to itself."""
    for steps in range(60):
        redis = BoundedRedis(redis_url, password=None, db=0)
        calling = asyncio.create_task(get(redis, "key"))
        for _ in range(steps):
            await pause(0)
        if calling.cancel():
            await asyncio.wait([calling])
            assert calling.cancelled(), steps
        await redis.close()


async def get(redis: BoundedRedis, key: str) -> str | None:
    value = await redis.call(lambda connection: connection.get(key))
    assert value is None or isinstance(value, str)
    return value


async def test_a_hanging_redis_costs_one_bounded_wait(redis: BoundedRedis, servers: RunningServers) -> None:
    await redis.call(lambda connection: connection.mset({"a": "1", "b": "2"}))
    with frozen(servers):
        began = elapsed()
        assert await get(redis, "a") is None
        assert elapsed() - began < BOUND
        for _ in range(20):
            began = elapsed()
            assert await get(redis, "a") is None
            assert elapsed() - began < AT_ONCE
        began = elapsed()
        assert await redis.probe() is not None
        assert elapsed() - began < BOUND

    async def back() -> bool:
        return await get(redis, "b") is not None

    await until_true(back, seconds=5)
    answers = await asyncio.gather(*(get(redis, key) for key in "ababab"))
    assert answers == ["1", "2"] * 3, "no answer of a call that was given up reaches a later one"
    assert await redis.probe() is None


async def test_many_calls_at_once_wait_side_by_side(redis: BoundedRedis, servers: RunningServers) -> None:
    with frozen(servers):
        began = elapsed()
        assert await asyncio.gather(*(get(redis, "a") for _ in range(50))) == [None] * 50
        assert elapsed() - began < BOUND + 0.2


async def test_no_redis_at_all() -> None:
    absent = BoundedRedis("redis://127.0.0.1:1", password=None, db=0)
    began = elapsed()
    assert await get(absent, "a") is None
    assert await absent.probe() is not None
    assert elapsed() - began < BOUND
    await absent.close()


async def test_a_page_is_served_until_something_is_sent(redis: BoundedRedis) -> None:
    recent = RecentSent(redis)
    version, page = await recent.read(LANE)
    assert (version, page) == ("0", None)
    await recent.write(LANE, version, "page 1")
    assert await recent.read(LANE) == ("0", "page 1")
    assert await recent.read("console") == ("0", None)
    await recent.outdated(LANE)
    assert await recent.read(LANE) == ("1", None)


async def test_a_page_that_was_read_before_the_latest_sending_is_never_served(redis: BoundedRedis) -> None:
    recent = RecentSent(redis)
    version, _ = await recent.read(LANE)
    await recent.outdated(LANE)  # while the reader was still asking Postgres
    await recent.write(LANE, version, "stale")
    assert (await recent.read(LANE))[1] is None


async def test_an_emptied_redis_serves_no_old_page(redis: BoundedRedis, redis_url: str) -> None:
    recent = RecentSent(redis)
    await recent.outdated(LANE)
    version, _ = await recent.read(LANE)
    await recent.write(LANE, version, "page")
    async with Redis.from_url(redis_url) as connection:
        await connection.flushall()
    assert await recent.read(LANE) == ("0", None)
    await recent.write(LANE, version, "written by one who read the version before")
    assert (await recent.read(LANE))[1] is None


async def test_pages_and_versions_have_a_lifetime(redis: BoundedRedis, redis_url: str) -> None:
    recent = RecentSent(redis)
    await recent.outdated(LANE)
    await recent.write(LANE, "1", "page")
    async with Redis.from_url(redis_url, decode_responses=True) as connection:
        keys = await connection.keys("*")
        assert sorted(keys) == [f"dispatcher:sent:{LANE}", f"dispatcher:sent:{LANE}:version"]
        lifetimes = [await connection.ttl(key) for key in sorted(keys)]
    assert 0 < lifetimes[0] <= 5
    assert 0 < lifetimes[1] <= 86_400


async def test_recent_messages_do_not_wait_for_a_hanging_redis(
    redis: BoundedRedis, servers: RunningServers
) -> None:
    recent = RecentSent(redis)
    with frozen(servers):
        began = elapsed()
        assert await recent.read(LANE) == (None, None)
        await recent.write(LANE, None, "page")
        await recent.outdated(LANE)
        assert elapsed() - began < BOUND


async def test_a_full_redis_is_down(redis: BoundedRedis, redis_url: str) -> None:
    assert await redis.probe() is None
    async with Redis.from_url(redis_url) as connection:
        before = await connection.config_get("maxmemory*")
        await connection.config_set("maxmemory-policy", "noeviction")
        await connection.config_set("maxmemory", 1)
        try:
            assert "OutOfMemoryError" in str(await redis.probe())
        finally:
            for name in ("maxmemory", "maxmemory-policy"):
                await connection.config_set(name, str(before[name]))
    assert await redis.probe() is None


async def test_a_replica_that_takes_no_writes_is_down(redis: BoundedRedis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as connection:
        await connection.slaveof("127.0.0.1", 1)
        try:
            assert "ReadOnlyError" in str(await redis.probe())
        finally:
            await connection.slaveof()
    assert await redis.probe() is None


async def test_a_refused_command_is_told_and_stops_no_other(redis: BoundedRedis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as connection:
        await connection.set("a", "1")
        await connection.lpush(redis.key(f"sent:{LANE}:version"), "no counter")
    await RecentSent(redis).outdated(LANE)
    assert await get(redis, "a") == "1"
    assert "WRONGTYPE" in str(await redis.probe())


@pytest.mark.parametrize("query", ["s3cret=1", "socket_timeout=s3cret", "ssl_cert_reqs=s3cret"])
def test_a_url_that_the_client_cannot_use_is_told_in_one_line(query: str) -> None:
    with pytest.raises(StartupError, match=r"^APP_REDIS_ADDR: ") as error:
        BoundedRedis(f"rediss://localhost?{query}", password=None, db=0)
    assert "s3cret" not in error.value.detail
