"""One socket's life: what ends it, and what it is told then."""

import pytest
from tests.integration.living import add_users, connected, living

from dispatcher.chat.happened import nobody
from dispatcher.chat.live.answer import Answers
from dispatcher.chat.live.filler import Filler
from dispatcher.chat.open_dm import Pairs
from dispatcher.kernel.db import Pool


async def broken(*_: object) -> None:
    raise RuntimeError("a bug")


async def test_a_bug_in_an_answer_ends_the_socket_and_says_so(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_users(pool, "alice")
    monkeypatch.setattr(Answers, "__call__", broken)
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "alice") as hers:
        hers.say("ping")
        assert await hers.until_closed() == 3004
        assert hers.of("bye")[0]["reconnect"]


async def test_a_bug_beside_reading_ends_the_socket_too(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left open it would have a hole, and never be told."""
    await add_users(pool, "alice", "bob")
    async with living(pool, redis_url) as replica:
        talk = await Pairs(pool, nobody).open("alice", "bob")
        await replica.say(talk, "bob")
        monkeypatch.setattr(Filler, "catch_up", broken)
        async with connected(replica.endpoint, "alice", positions={str(talk): (0, 0)}) as hers:
            assert await hers.until_closed() == 3004
