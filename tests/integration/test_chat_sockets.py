"""One socket's life: what ends it, and what it is told then."""

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.integration.living import Socket, add_users, connected, living
from tests.integration.rows import until_true

from dispatcher.chat.groups import add_group
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


async def test_what_postgres_refuses_is_a_bug_and_no_outage(pool: Pool, redis_url: str) -> None:
    await add_users(pool, "alice", "bob")
    async with living(pool, redis_url) as replica:
        talk = await Pairs(pool, nobody).open("alice", "bob")
        with capture_logs() as logs:
            async with connected(replica.endpoint, "alice") as hers:
                await pool.execute("ALTER TABLE members RENAME left_seq TO gone_seq")
                hers.say("sync", id=1, conversation_id=talk, seq=0)
                assert await hers.until_closed() == 3004
            assert "chat_socket_failed" in [one["event"] for one in logs]


async def test_an_outage_of_postgres_is_logged_once(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise ConnectionResetError("lost")

    await add_users(pool, "alice")
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "alice") as hers:
        monkeypatch.setattr(Answers, "__call__", lost)
        with capture_logs() as logs:
            for number in (1, 2, 3):
                hers.say("ping", id=number)
                answer = await hers.answer(number)
                assert (answer["status"], answer["temporary"]) == (503, True)
        events = [one["event"] for one in logs]  # of everything that goes on here, so there may be others
        assert events.count("chat_sockets_without_postgres") == 1


async def test_a_slow_socket_to_which_much_is_new_is_gone_when_its_client_is(
    pool: Pool, redis_url: str
) -> None:
    await add_users(pool, "alice", "bob")
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "bob") as quick:
        talk = await Pairs(pool, replica.live.tell).open("alice", "bob")
        slow = Socket()
        running = asyncio.create_task(slow.run(replica.endpoint, {"user_id": "bob"}))
        await slow.until(lambda one: one["type"] == "hello")
        slow.takes.clear()
        for number in range(220):  # more than half of what may wait for a socket
            await replica.say(talk, "alice", f"{number} {'x' * 4000}")
        for number in range(40):
            group = (await add_group(pool, nobody, "alice", f"group {number}", ["bob"])).conversation_id
            await replica.say(group, "alice", "hello")
        await replica.live.check()
        await quick.until(lambda _: len(quick.contents) == 260)
        slow.say("send", receiver_id="alice", content="hello")

        async def is_written() -> bool:
            found: int = await pool.fetchval("SELECT count(*) FROM chat_messages WHERE sender_id = 'bob'")
            return found == 1

        await until_true(is_written)
        slow.leave()
        await asyncio.wait([running], timeout=5)
        assert running.done()


async def test_what_was_wrong_now_and_then_ends_no_socket(pool: Pool, redis_url: str) -> None:
    await add_users(pool, "alice")
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "alice") as hers:
        for number in range(15):
            hers.say("send", id=number, receiver_id="no user's id", content="hello")
            hers.say("send", id=100 + number, receiver_id="alice", content="to myself")
            hers.say("ping", id=1000 + number)
            await hers.answer(1000 + number)
        assert len(hers.of("error")) == 30
        for _ in range(21):
            hers.say("nonsense")
        assert await hers.until_closed() == 3502


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({"timestamp": "9999-12-31T23:59:59-14:00"}, "timestamp"),
        ({"timestamp": "2999-01-01T00:00:00Z"}, "timestamp: is ahead"),
        ({"client_id": "scheduled:1"}, "client_id"),
    ],
)
async def test_what_rest_would_not_take_is_refused(
    pool: Pool, redis_url: str, fields: dict[str, str], problem: str
) -> None:
    await add_users(pool, "alice", "bob")
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "alice") as hers:
        hers.say("send", id=1, receiver_id="bob", content="hello", **fields)
        answer = await hers.answer(1)
        assert (answer["type"], answer["temporary"], answer["status"]) == ("error", False, 422)
        assert problem in answer["detail"]
        hers.say("send", id=2, receiver_id="bob", content="hello", timestamp="2001-01-01T00:00:00+02:00")
        assert (await hers.answer(2))["type"] == "sent"
