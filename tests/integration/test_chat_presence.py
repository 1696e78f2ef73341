"""Who is there, over two replicas."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from tests.chaos.wire import running_wire
from tests.integration.living import Frame, Socket, add_users, connected, living
from tests.integration.rows import until_true

from dispatcher.chat.happened import nobody
from dispatcher.chat.live import presence, wire
from dispatcher.chat.live.passing import Came
from dispatcher.chat.open_dm import Pairs
from dispatcher.kernel.clock import elapsed, unix_seconds
from dispatcher.kernel.db import Pool


def says(*, online: bool) -> Frame:
    return {"type": "presence", "users": [{"user_id": "bob", "online": online}]}


async def asked(socket: Socket, number: int) -> bool:
    socket.say("presence", id=number, user_ids=["bob"])
    (state,) = (await socket.answer(number))["users"]
    return bool(state["online"])


async def test_a_replica_that_ends_takes_its_users_with_it(pool: Pool, redis_url: str) -> None:
    await add_users(pool, "alice", "bob")
    await Pairs(pool, nobody).open("alice", "bob")
    prefix = f"test:{uuid4().hex}:"
    async with living(pool, redis_url, prefix=prefix) as one, connected(one.endpoint, "alice") as hers:
        assert not await asked(hers, 1)
        async with AsyncExitStack() as other_ends:
            other = await other_ends.enter_async_context(living(pool, redis_url, prefix=prefix, name="b"))
            async with connected(other.endpoint, "bob"):
                await hers.until(lambda frame: frame == says(online=True))
                await other_ends.aclose()  # before the socket has noticed anything
                assert not await asked(hers, 2)


async def test_a_replica_ends_soon_also_when_redis_says_nothing(pool: Pool, redis_url: str) -> None:
    await add_users(pool, "bob")
    socket = urlsplit(redis_url).path
    async with running_wire(partial(asyncio.open_unix_connection, socket)) as path, AsyncExitStack() as ends:
        url = f"redis://127.0.0.1:{path.port}"
        replica = await ends.enter_async_context(living(pool, url))
        async with connected(replica.endpoint, "bob"):
            path.cut()
            began = elapsed()
            await ends.aclose()
            assert elapsed() - began < 3


async def test_news_that_redis_lost_or_brought_late_is_put_right(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "REFRESH_SECONDS", 0.3)
    await add_users(pool, "alice", "bob")
    await Pairs(pool, nobody).open("alice", "bob")
    prefix = f"test:{uuid4().hex}:"
    async with (
        living(pool, redis_url, prefix=prefix) as one,
        living(pool, redis_url, prefix=prefix, name="b") as other,
        connected(one.endpoint, "alice") as hers,
    ):
        assert not await asked(hers, 1)
        async with connected(other.endpoint, "bob"):
            await hers.until(lambda frame: frame == says(online=True))
            assert await asked(hers, 2)
            async with Redis.from_url(redis_url) as connection:
                late = wire.encode("c", [wire.pack(Came("bob", online=False))])
                await connection.publish(f"{prefix}chat:p:bob", late)
            await hers.until(lambda frame: frame == says(online=False))
            hers.frames.clear()
            await hers.until(lambda frame: frame == says(online=True))


async def test_what_killed_replicas_left_is_not_kept(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "REFRESH_SECONDS", 0.3)
    await add_users(pool, "bob")
    prefix = f"test:{uuid4().hex}:"
    key = f"{prefix}chat:online:bob"
    async with (
        Redis.from_url(redis_url) as connection,
        living(pool, redis_url, prefix=prefix) as one,
        connected(one.endpoint, "bob"),
    ):
        await connection.zadd(key, {"killed": unix_seconds() - 1, "elsewhere": unix_seconds() + 30})

        async def is_forgotten() -> bool:
            return await connection.zscore(key, "killed") is None and await connection.zcard(key) == 2

        await until_true(is_forgotten)
        assert await connection.zscore(key, "elsewhere") is not None
