"""What one replica publishes for the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from tests.integration.living import add_users, connected, living

from dispatcher.chat.group_members import change_role
from dispatcher.chat.groups import add_group, close_group
from dispatcher.chat.happened import Marked, Rearranged, Sent, nobody
from dispatcher.chat.live import frames, wire
from dispatcher.chat.live.wire import Told
from dispatcher.chat.message import ChatMessage
from dispatcher.chat.open_dm import Pairs
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import Pool

MANY = 1024


class Published:
    """What is published under a prefix, as it comes."""

    def __init__(self) -> None:
        self.size = 0
        self.told: list[tuple[str, Told]] = []
        self._came = asyncio.Event()

    async def until(self, count: int) -> None:
        """Wait until so much was told."""
        async with asyncio.timeout(20):
            while len(self.told) < count:
                self._came.clear()
                await self._came.wait()

    def got(self, channel: str, payload: bytes) -> None:
        self.size += len(payload)
        self.told += [(channel, one) for one in wire.decode(payload)[1]]
        self._came.set()


@asynccontextmanager
async def listening(redis_url: str, prefix: str) -> AsyncIterator[Published]:
    published = Published()

    async def read() -> None:
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                published.got(message["channel"].decode().removeprefix(f"{prefix}chat:"), message["data"])

    async with Redis.from_url(redis_url) as connection, connection.pubsub() as pubsub:
        await pubsub.psubscribe(f"{prefix}chat:*")
        await pubsub.get_message(timeout=5)
        task = asyncio.create_task(read())
        try:
            yield published
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_large_group_is_published_in_as_many_bytes_as_it_has_members(
    pool: Pool, redis_url: str
) -> None:
    users = [f"{number:04}{'x' * 36}" for number in range(MANY)]
    await add_users(pool, *users)
    prefix = f"test:{uuid4().hex}:"
    async with (
        living(pool, redis_url, prefix=prefix) as one,
        living(pool, redis_url, prefix=prefix, name="b") as other,
        connected(other.endpoint, users[-1]) as last,
        listening(redis_url, prefix) as published,
    ):
        group = (await add_group(pool, one.live.tell, users[0], "us", users[1:])).conversation_id
        await last.until(lambda frame: frame.get("what") == "opened")
        await one.say(group, users[0])
        await last.until(lambda frame: frame["type"] == "message")
        await close_group(pool, one.live.tell, group, users[0])
        await last.until(lambda frame: frame.get("what") == "closed")
        await published.until(2 * (MANY + 1) + 1)
        assert published.size < 600_000
        about = {
            (channel, told.what): sorted(told.user_ids)
            for channel, told in published.told
            if isinstance(told, Rearranged)
        }
        assert about == {
            (channel, what): whom
            for what in ("opened", "closed")
            for channel, whom in [(f"g:{group}", users), *((f"u:{user}", [user]) for user in users)]
        }


async def test_what_is_too_much_for_redis_at_once_goes_in_halves(pool: Pool, redis_url: str) -> None:
    prefix = f"test:{uuid4().hex}:"
    await add_users(pool, "alice", "bob")
    talk = await Pairs(pool, nobody).open("alice", "bob")
    messages = [ChatMessage(talk, number, number, "alice", None, "x" * 4000) for number in range(1, 501)]
    async with (
        Redis.from_url(redis_url) as connection,
        living(pool, redis_url, prefix=prefix) as replica,
        listening(redis_url, prefix) as published,
        AsyncExitStack() as after,
    ):
        after.push_async_callback(connection.config_set, "proto-max-bulk-len", "512mb")
        await connection.config_set("proto-max-bulk-len", "1mb")
        for message in messages:
            replica.live.tell(Sent(message))
        await published.until(2 * len(messages))
        mine = [
            told.message.seq
            for channel, told in published.told
            if channel == "u:bob" and isinstance(told, Sent)
        ]
        assert mine == sorted(mine)
        assert set(mine) == set(range(1, 501))


async def test_a_redis_that_refuses_publications_is_told_of_and_not_asked_for_the_same_again(
    pool: Pool, redis_url: str
) -> None:
    prefix = f"test:{uuid4().hex}:"
    await add_users(pool, "alice", "bob")
    talk = await Pairs(pool, nobody).open("alice", "bob")
    async with Redis.from_url(redis_url) as connection:
        may: dict[str, Any] = {"enabled": True, "nopass": True, "keys": ["*"], "channels": ["*"]}
        await connection.acl_setuser("quiet", **may, categories=["+@all"], commands=["-publish"])
        quiet = redis_url.replace("unix://", "unix://quiet:any@")
        async with living(pool, quiet, prefix=prefix) as replica, listening(redis_url, prefix) as published:
            with capture_logs() as logs:
                replica.live.tell(Marked(talk, "alice", 1, 1))
                async with asyncio.timeout(5):
                    while not [one for one in logs if one["event"] == "redis_refused"]:
                        await pause(0.01)
            await connection.acl_setuser("quiet", **may, categories=["+@all"])
            replica.live.tell(Marked(talk, "alice", 2, 2))
            await published.until(2)
            assert {told for _, told in published.told} == {Marked(talk, "alice", 2, 2)}


async def test_old_and_new_owner_hear_of_each_other_on_another_replica(pool: Pool, redis_url: str) -> None:
    await add_users(pool, "alice", "bob")
    prefix = f"test:{uuid4().hex}:"
    async with (
        living(pool, redis_url, prefix=prefix) as one,
        living(pool, redis_url, prefix=prefix, name="b") as other,
        connected(other.endpoint, "alice") as hers,
        connected(other.endpoint, "bob") as his,
    ):
        group = (await add_group(pool, one.live.tell, "alice", "us", ["bob"])).conversation_id
        for socket in (hers, his):
            await socket.until(lambda frame: frame.get("what") == "opened")
        await change_role(pool, one.live.tell, group, "bob", by="alice", role="owner")
        for socket in (hers, his):
            frame = await socket.until(lambda frame: frame.get("what") == "role")
            assert sorted(frame["user_ids"]) == ["alice", "bob"]


async def test_replicas_of_one_name_hear_each_other(pool: Pool, redis_url: str) -> None:
    """Containers may have one hostname between them, and each its process 1."""
    await add_users(pool, "alice", "bob")
    prefix = f"test:{uuid4().hex}:"
    talk = await Pairs(pool, nobody).open("alice", "bob")
    async with (
        living(pool, redis_url, prefix=prefix) as one,
        living(pool, redis_url, prefix=prefix) as other,
        connected(one.endpoint, "alice") as hers,
        connected(other.endpoint, "bob") as his,
    ):
        hers.say("typing", conversation_id=talk)
        await his.until(lambda frame: frame["type"] == "typing")


async def test_who_may_have_a_hole_after_a_bug_comes_back(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_users(pool, "alice", "bob", "carol")
    prefix = f"test:{uuid4().hex}:"
    talk = await Pairs(pool, nobody).open("alice", "bob")
    await Pairs(pool, nobody).open("alice", "carol")

    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("a bug")

    async with (
        living(pool, redis_url, prefix=prefix) as one,
        living(pool, redis_url, prefix=prefix, name="b") as other,
        connected(one.endpoint, "alice") as hers,
        connected(other.endpoint, "bob") as his,
        connected(one.endpoint, "carol") as carols,
    ):
        with capture_logs() as logs, monkeypatch.context() as patched:
            patched.setattr(frames, "message", broken)
            await one.say(talk, "alice", "Bob?")
            assert await hers.until_closed() == 3004
            assert await his.until_closed() == 3004
        assert [log["event"] for log in logs if log["log_level"] == "error"] == ["chat_not_passed_on"] * 2
        async with connected(other.endpoint, "bob", positions={str(talk): (0, 0)}) as again:
            await again.until(lambda frame: frame["type"] == "message")
            assert again.contents == ["Bob?"]
        assert carols.closed is None
