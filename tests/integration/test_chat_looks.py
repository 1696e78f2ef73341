"""What happens while a user's conversations are looked at is not lost on them, and an older look undoes nothing."""

from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from tests.integration.living import Replica, Slow, Socket, add_users, connected, living

from dispatcher.chat.change import edit
from dispatcher.chat.group_members import add_member, remove_member
from dispatcher.chat.groups import add_group
from dispatcher.chat.happened import Rearranged, nobody
from dispatcher.chat.live import checker, snapshot
from dispatcher.chat.mark import Mark, Marks, happened, mark
from dispatcher.chat.open_dm import Pairs
from dispatcher.kernel.db import Pool


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found by comparing now and then: what does not come by itself does not come."""
    monkeypatch.setattr(checker, "CHECK_SECONDS", 600.0)


async def read(replica: Replica, conversation_id: int, user_id: str, seq: int) -> None:
    wanted = Mark(conversation_id, user_id, delivered=seq, read=seq)
    (outcome,) = await mark(replica.pool, [wanted])
    assert isinstance(outcome, Marks)
    replica.live.tell(happened(wanted, outcome))


async def first_id(pool: Pool, conversation_id: int) -> int:
    id_: int = await pool.fetchval(
        "SELECT id FROM chat_messages WHERE conversation_id = $1 AND seq = 1", conversation_id
    )
    return id_


@pytest.mark.parametrize("first", [True, False], ids=["nobody follows yet", "somebody follows"])
async def test_what_is_told_while_who_comes_is_looked_up_comes(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch, *, first: bool
) -> None:
    await add_users(pool, "alice", "bob", "carol")
    who = "carol" if first else "alice"
    async with living(pool, redis_url) as replica, connected(replica.endpoint, who) as other:
        talk = await Pairs(pool, replica.live.tell).open("alice", "bob")
        await replica.say(talk, "bob", "1")
        if not first:
            await other.until(lambda one: one["type"] == "message")
        slow = Slow(monkeypatch, "standings")
        slow.next_waits = True
        coming = connected(replica.endpoint, "bob", greeted=False, positions={str(talk): (1, 0)})
        async with coming as his:
            await slow.has_looked()
            await replica.say(talk, "alice", "2")
            await edit(pool, replica.live.tell, talk, await first_id(pool, talk), "bob", content="one")
            await read(replica, talk, "alice", 1)
            slow.let_go.set()
            await his.until(lambda one: one["type"] == "message")
            await his.until(lambda one: one["type"] == "changed")
            await his.until(lambda one: one["type"] == "receipts")
            assert his.frames[0]["type"] == "hello"
            assert his.contents == ["2"]
            assert [one["message"]["content"] for one in his.of("changed")] == ["one"]
            marks = {"user_id": "alice", "delivered_seq": 1, "read_seq": 1}
            assert [one["marks"] for one in his.of("receipts")] == [[marks]]


@pytest.mark.parametrize("here", [True, False], ids=["told here", "told by another replica"])
async def test_an_older_look_takes_nobody_in_again(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch, *, here: bool
) -> None:
    await add_users(pool, "alice", "bob")
    group = (await add_group(pool, nobody, "alice", "us", ["bob"])).conversation_id
    async with AsyncExitStack() as stack:
        replica, other = await two_replicas(stack, pool, redis_url)
        hers = await stack.enter_async_context(connected(replica.endpoint, "alice"))
        his = await stack.enter_async_context(connected(replica.endpoint, "bob"))
        slow = Slow(monkeypatch, "standings")
        slow.next_waits = True
        phone = await stack.enter_async_context(connected(replica.endpoint, "bob", greeted=False))
        await slow.has_looked()
        teller = replica if here else other
        await remove_member(pool, teller.live.tell, group, "bob", by="alice")
        await hers.until(lambda one: one.get("what") == "left")
        await heard(his, "bob", group, by=teller)
        slow.let_go.set()
        hello = await phone.until(lambda one: one["type"] == "hello")
        left = await his.until(lambda one: one.get("what") == "left")
        await teller.say(group, "alice", "Bob is gone")
        await hers.until(lambda one: one["type"] == "message")
        his.say("ping", id=1)
        await his.answer(1)
        behind = his.frames[his.frames.index(left) + 1 :]
        assert [one for one in behind if one.get("what") != "role"] == [{"type": "pong", "id": 1}]
        assert hello["conversations"] == []
        assert phone.contents == []


async def two_replicas(stack: AsyncExitStack, pool: Pool, redis_url: str) -> tuple[Replica, Replica]:
    prefix = f"test:{uuid4().hex}:"
    a = await stack.enter_async_context(living(pool, redis_url, prefix=prefix))
    return a, await stack.enter_async_context(living(pool, redis_url, prefix=prefix, name="b"))


async def heard(socket: Socket, user_id: str, conversation_id: int, *, by: Replica) -> None:
    """All that this replica has told about the user until now has come to where the socket is."""
    by.live.tell(Rearranged(conversation_id, "role", [user_id]))
    await socket.until(lambda one: one.get("what") == "role")


async def test_a_late_word_that_somebody_left_undoes_nothing_that_began_since(
    pool: Pool, redis_url: str
) -> None:
    await add_users(pool, "alice", "bob")
    group = (await add_group(pool, nobody, "alice", "us", ["bob"])).conversation_id
    async with AsyncExitStack() as stack:
        replica, other = await two_replicas(stack, pool, redis_url)
        his = await stack.enter_async_context(connected(replica.endpoint, "bob"))
        await other.say(group, "alice", "1")
        await his.until(lambda one: one["type"] == "message")
        await remove_member(pool, nobody, group, "bob", by="alice")
        await add_member(pool, other.live.tell, group, "bob", by="alice", role="member")
        opened = await his.until(lambda one: one.get("what") == "opened")
        await other.say(group, "alice", "2")
        await his.until(lambda one: one["type"] == "message" and one["message"]["seq"] == 2)
        other.live.tell(Rearranged(group, "left", ["bob"]))  # it waited for Redis
        await heard(his, "bob", group, by=other)
        await other.say(group, "alice", "3")
        await his.until(lambda one: one["type"] == "message" and one["message"]["seq"] == 3)
        behind = his.frames[his.frames.index(opened) + 1 :]
        assert [one.get("what", one["type"]) for one in behind] == ["message", "role", "message"]


async def test_who_was_out_and_in_again_before_anybody_said_so_begins_anew(
    pool: Pool, redis_url: str
) -> None:
    await add_users(pool, "alice", "bob")
    group = (await add_group(pool, nobody, "alice", "us", ["bob"])).conversation_id
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "bob") as his:
        await replica.say(group, "alice", "1")
        await remove_member(pool, nobody, group, "bob", by="alice")
        await add_member(pool, nobody, group, "bob", by="alice", role="member")
        await replica.say(group, "alice", "2")
        await his.until(lambda one: one["type"] == "message" and one["message"]["seq"] == 2)
        await replica.live.check()
        await his.until(lambda one: one.get("what") == "opened")
        await replica.say(group, "alice", "3")
        await his.until(lambda one: one["type"] == "message" and one["message"]["seq"] == 3)
        came = [one.get("what") or one["message"]["content"] for one in his.frames[1:]]
        assert came == ["1", "2", "left", "opened", "2", "3"], (
            "what was shown to a former member is forgotten"
        )


async def test_who_has_more_conversations_than_are_followed_is_not_told_that_they_left(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = f"LIMIT {snapshot.MAX_FOLLOWED}"
    monkeypatch.setattr(snapshot, "STANDINGS", snapshot.STANDINGS.replace(limit, "LIMIT 2"))
    monkeypatch.setattr(snapshot, "MAX_FOLLOWED", 2)
    await add_users(pool, "alice", "bob")
    groups = [
        (await add_group(pool, nobody, "alice", str(number), ["bob"])).conversation_id for number in range(4)
    ]
    async with living(pool, redis_url) as replica:
        for group in groups[:3]:
            await replica.say(group, "alice", "1")
        async with connected(replica.endpoint, "bob") as his:
            await remove_member(pool, nobody, groups[2], "bob", by="alice")
            await replica.say(groups[3], "alice", "now the latest")
            replica.live.tell(Rearranged(groups[3], "joined", ["bob"]))
            await his.until(lambda one: one["type"] == "message")
            assert [(one["what"], one["conversation_id"]) for one in his.of("conversation")] == [
                ("left", groups[2]),
                ("opened", groups[3]),
            ]
            await replica.say(groups[0], "alice", "and now this one")
            replica.live.tell(Rearranged(groups[0], "joined", ["bob"]))
            await his.until(lambda one: one["type"] == "message" and one["message"]["seq"] == 2)
            assert [(one["what"], one["conversation_id"]) for one in his.of("conversation")] == [
                ("left", groups[2]),
                ("opened", groups[3]),
                ("opened", groups[0]),
            ], "another is no longer among the latest two: it is followed no longer, and still theirs"


async def test_who_leaves_and_comes_back_while_they_catch_up_gets_each_message_once(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_users(pool, "alice", "bob")
    group = (await add_group(pool, nobody, "alice", "us", [])).conversation_id
    talk = await Pairs(pool, nobody).open("alice", "bob")
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "alice"):
        for id_ in (talk, group):
            await replica.say(id_, "alice", "1")
        await edit(pool, replica.live.tell, group, await first_id(pool, group), "alice", content="one")
        await add_member(pool, nobody, group, "bob", by="alice", role="member")
        slow = Slow(monkeypatch, "changes")
        slow.next_waits = True
        positions = {str(group): (1, 0), str(talk): (0, 0)}
        async with connected(replica.endpoint, "bob", positions=positions) as his:
            await slow.has_looked()
            await remove_member(pool, replica.live.tell, group, "bob", by="alice")
            await add_member(pool, replica.live.tell, group, "bob", by="alice", role="member")
            await his.until(lambda one: one.get("what") == "opened")
            await replica.say(group, "alice", "2")
            await his.until(lambda one: one["type"] == "message")
            slow.let_go.set()
            await his.until(lambda one: one["type"] == "message" and one["message"]["content"] == "1")
            assert sorted(his.contents) == ["1", "2"]
            await replica.say(talk, "alice", "3")
            await his.until(lambda one: one["type"] == "message" and one["message"]["content"] == "3")
            assert sorted(his.contents) == ["1", "2", "3"]
