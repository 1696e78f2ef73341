"""What happens while a user's conversations are looked at is not lost on them, and an older look undoes nothing."""

import pytest
from tests.integration.living import Replica, Slow, add_users, connected, living

from dispatcher.chat.change import edit
from dispatcher.chat.live import checker
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
