"""Who follows what on a replica, while people come and go, and conversations begin and end."""

import asyncio

import pytest
from tests.integration.living import Slow, add_users, connected, living

from dispatcher.chat.change import edit
from dispatcher.chat.group_members import remove_member
from dispatcher.chat.groups import add_group
from dispatcher.chat.happened import nobody
from dispatcher.chat.live.endpoint import Endpoint
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.remove_user import remove_user
from dispatcher.kernel.db import Pool


async def test_who_goes_while_their_conversations_are_looked_at_leaves_nothing_behind(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_users(pool, "alice", "bob", "carol")
    slow = Slow(monkeypatch, "standings")
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "alice") as hers:
        async with connected(replica.endpoint, "bob"):
            slow.next_waits = True
            talk = await Pairs(pool, replica.live.tell).open("carol", "bob")
            await slow.has_looked()
        slow.let_go.set()  # bob is gone by now, for whom it was looked
        async with connected(replica.endpoint, "carol") as carols:
            assert "bob" not in replica.hub.users
            assert not any("bob" in stream.followers for stream in replica.hub.streams.values())
            await replica.say(talk, "carol", "Bob?")
            await carols.until(lambda one: one["type"] == "message")
        shared = await Pairs(pool, replica.live.tell).open("alice", "bob")
        await replica.say(shared, "alice", "Bob!")
        await hers.until(lambda one: one["type"] == "message")


async def test_of_two_looks_at_one_user_the_older_does_not_count(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_users(pool, "bob", "carol")
    slow = Slow(monkeypatch, "standings")
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "bob") as his:
        slow.next_waits = True
        group = (await add_group(pool, replica.live.tell, "carol", "us", ["bob"])).conversation_id
        await slow.has_looked()
        talk = await Pairs(pool, nobody).open("carol", "bob")
        phone = asyncio.create_task(_come(replica.endpoint))
        await asyncio.wait(
            [phone], timeout=0.3
        )  # it sees the talk; if it does so before the older look counts
        slow.let_go.set()
        await phone
        await replica.say(talk, "carol", "Bob?")
        await his.until(lambda one: one["type"] == "message")
        assert [(one["what"], one["conversation_id"]) for one in his.of("conversation")] == [
            ("opened", group),
            ("opened", talk),
        ], "none of them was left in between"
        assert his.contents == ["Bob?"]


async def _come(endpoint: Endpoint) -> None:
    async with connected(endpoint, "bob"):
        pass


@pytest.mark.parametrize("name", ["changes", "behind"])
async def test_what_happens_while_a_socket_catches_up_comes_behind_it_and_once(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await add_users(pool, "alice", "bob")
    slow = Slow(monkeypatch, name)
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "alice") as hers:
        talk = await Pairs(pool, replica.live.tell).open("alice", "bob")
        for number in (1, 2, 3):
            await replica.say(talk, "alice", f"{number}")
        await hers.until(lambda one: one["type"] == "message" and one["message"]["seq"] == 3)
        slow.next_waits = True
        async with connected(replica.endpoint, "bob", positions={str(talk): (1, 0)}) as his:
            await slow.has_looked()
            await replica.say(talk, "alice", "4")
            first = int(hers.of("message")[0]["message"]["id"])
            await edit(pool, replica.live.tell, talk, first, "alice", content="one")
            slow.let_go.set()
            await replica.say(talk, "alice", "5")
            await his.until(lambda one: one["type"] == "message" and one["message"]["content"] == "5")
            await his.until(lambda one: one["type"] == "changed")
            his.say("ping", id=1)
            await his.answer(1)
            assert his.contents == ["2", "3", "4", "5"]
            assert [one["message"]["content"] for one in his.of("changed")] == ["one"]


async def test_who_is_removed_while_they_catch_up_gets_nothing_more(pool: Pool, redis_url: str) -> None:
    await add_users(pool, "alice", "bob")
    async with living(pool, redis_url) as replica:
        group = (await add_group(pool, nobody, "alice", "us", ["bob"])).conversation_id
        for number in range(250):
            await replica.say(group, "alice", f"{number} {'x' * 4000}")  # more than an outbox takes at a time
        async with connected(replica.endpoint, "bob", positions={str(group): (0, 0)}) as his:
            await his.until(lambda one: one["type"] == "message")
            his.takes.clear()
            await remove_member(pool, replica.live.tell, group, "bob", by="alice")
            his.takes.set()
            left = await his.until(lambda one: one.get("what") == "left")
            his.say("ping", id=1)
            await his.answer(1)
            assert his.frames[his.frames.index(left) + 1 :] == [{"type": "pong", "id": 1}]


async def test_the_sockets_of_a_removed_user_are_closed(pool: Pool, redis_url: str) -> None:
    await add_users(pool, "alice", "bob")
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "bob") as his:
        await remove_user(pool, replica.live.tell, "bob")
        await replica.live.check()
        assert await his.until_closed() == 3504
