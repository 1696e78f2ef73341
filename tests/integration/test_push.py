"""Who is called for a chat message that they have not acknowledged: everybody who is to be, once, and nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest
from tests.integration.plans import read

from dispatcher.chat.happened import nobody
from dispatcher.chat.mark import Mark, Marks, mark
from dispatcher.chat.mute import mute
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.push import BACK, CALL, CLAIM, CONVERSATIONS_AT_ONCE, EVER, FORGET, Push, is_pushing
from dispatcher.chat.send import NewChatMessage, Sender
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.live import Live, Snapshot
from dispatcher.live_config.model import LiveConfig

AFTER = timedelta(hours=1)
"""Nothing here waits so long: `look` lets the time pass."""


@dataclass(slots=True)
class Talk:
    """Chat on one database, and who is called in it."""

    pool: Pool
    sender: Sender
    push: Push

    async def dm(self, one: str, other: str) -> int:
        return await Pairs(self.pool, nobody).open(one, other)

    async def group(self, *user_ids: str) -> int:
        group_id: int = await self.pool.fetchval(
            "INSERT INTO conversations (kind, name, last_id, member_count) VALUES ('group', 'Friends', 0, $1) "
            "RETURNING id",
            len(user_ids),
        )
        await self.pool.execute(
            "INSERT INTO members (conversation_id, user_id, joined_seq, joined_id, delivered_seq, read_seq) "
            "SELECT $1, unnest($2::text[]), 0, 0, 0, 0",
            *(group_id, user_ids),
        )
        return group_id

    async def say(self, conversation_id: int, sender_id: str, content: str = "hello") -> int:
        """The message's seq."""
        result = await self.sender.send(NewChatMessage(conversation_id, sender_id, content))
        return result.message.seq

    async def acknowledges(self, user_id: str, conversation_id: int, seq: int) -> None:
        (outcome,) = await mark(self.pool, [Mark(conversation_id, user_id, delivered=seq)])
        assert isinstance(outcome, Marks)

    async def due(self) -> list[asyncpg.Record]:
        return await self.pool.fetch("SELECT * FROM chat_push_due ORDER BY conversation_id")

    async def look(self) -> None:
        """Look when what is there by now is an hour old."""
        await self.pool.execute("UPDATE chat_push_due SET since = now() - $1::interval", AFTER)
        await self.push.once()

    async def look_at_all(self) -> list[str]:
        """Whom it has called in all, in order, when nothing is left to be looked at."""
        while await self.due():
            await self.look()
        return [call["to"] for call in await self.calls()]

    async def calls(self) -> list[dict[str, Any]]:
        rows = await self.pool.fetch(
            "SELECT recipient_phone, content FROM messages WHERE lane = 'push' ORDER BY id"
        )
        return [{"to": row["recipient_phone"]} | orjson.loads(row["content"]) for row in rows]


@asynccontextmanager
async def talking(pool: Pool, *, pushing: bool = True) -> AsyncIterator[Talk]:
    await pool.execute("INSERT INTO users (id) SELECT unnest($1::text[])", ["alice", "bob", "carol", "dave"])
    url = "http://127.0.0.1:9/" if pushing else None
    live = Live(Snapshot(LiveConfig(push_webhook_url=url, push_after=AFTER.total_seconds()), None))
    push = Push(pool, live, called=lambda: None)
    sender = Sender(pool, nobody, pushing=lambda: is_pushing(live.value))
    async with background("chat sender", sender.run):
        yield Talk(pool, sender, push)


@pytest.fixture
async def talk(pool: Pool) -> AsyncIterator[Talk]:
    async with talking(pool) as running:
        yield running


async def test_one_call_however_many_messages_until_they_are_acknowledged(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    for number in range(5):
        await talk.say(dm, "alice", f"message {number}")
    assert await talk.look_at_all() == ["bob"]
    (call,) = await talk.calls()
    assert isinstance(call.pop("message_id"), str)
    assert call == {
        "to": "bob",
        "content": "message 4",
        "conversation_id": dm,
        "kind": "dm",
        "group_name": None,
        "sender_id": "alice",
        "sender_name": None,
        "seq": 5,
        "unread": 5,
    }
    await talk.say(dm, "alice")
    assert await talk.look_at_all() == ["bob"], "the call still stands"
    await talk.acknowledges("bob", dm, 6)
    await talk.say(dm, "alice")
    assert await talk.look_at_all() == ["bob", "bob"]


async def test_nobody_is_called_who_has_acknowledged_in_time(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    await talk.acknowledges("bob", dm, await talk.say(dm, "alice"))
    assert len(await talk.due()) == 1
    assert await talk.look_at_all() == []


async def test_a_message_is_not_looked_at_before_its_time(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    await talk.say(dm, "alice")
    await talk.push.once()
    assert await talk.calls() == []
    assert len(await talk.due()) == 1


async def test_what_came_while_another_message_waited_is_looked_at_as_long_after(talk: Talk) -> None:
    group = await talk.group("alice", "bob", "carol")
    first = await talk.say(group, "alice")
    await talk.say(group, "alice")
    await talk.acknowledges("bob", group, first)
    await talk.acknowledges("carol", group, first)
    await talk.look()
    assert await talk.calls() == [], "the second message is not old enough, as far as anybody knows"
    await talk.acknowledges("carol", group, 2)
    assert await talk.look_at_all() == ["bob"]


async def test_the_sender_and_the_muted_and_the_gone_are_not_called(talk: Talk) -> None:
    group = await talk.group("alice", "bob", "carol", "dave")
    await mute(talk.pool, group, "bob", muted=True)
    await talk.say(group, "carol")
    await talk.pool.execute("UPDATE members SET left_seq = 1 WHERE user_id = 'dave'")
    assert await talk.look_at_all() == ["alice"]


async def test_a_sender_who_is_behind_is_called_for_the_others_message_not_for_their_own(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    await talk.say(dm, "bob", "from bob")
    await talk.say(dm, "alice", "from alice")
    assert sorted(await talk.look_at_all()) == ["alice", "bob"]
    assert {call["to"]: call["content"] for call in await talk.calls()} == {
        "alice": "from bob",
        "bob": "from alice",
    }
    await talk.acknowledges("bob", dm, 2)
    await talk.acknowledges("alice", dm, 1)  # never her own
    await talk.say(dm, "alice")
    assert sorted(await talk.look_at_all()) == ["alice", "bob", "bob"], "alice knows what she wrote"


async def test_nobody_is_called_for_what_was_deleted(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    await talk.say(dm, "alice")
    await talk.pool.execute("UPDATE chat_messages SET content = '', deleted_at = now()")
    assert await talk.look_at_all() == []


async def test_who_acknowledges_a_part_is_called_again_for_the_rest(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    await talk.say(dm, "alice")
    assert await talk.look_at_all() == ["bob"]
    await talk.say(dm, "alice")
    assert await talk.look_at_all() == ["bob"]
    await talk.acknowledges("bob", dm, 1)
    assert await talk.look_at_all() == ["bob", "bob"]


async def test_a_mark_that_comes_between_a_look_and_its_end_is_not_forgotten(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    await talk.say(dm, "alice")
    assert await talk.look_at_all() == ["bob"]
    await talk.say(dm, "alice")
    (before,) = await talk.due()
    await talk.acknowledges("bob", dm, 1)
    await talk.pool.execute(FORGET, [dm], [before["seq"]], [before["marks"]])
    assert await talk.look_at_all() == ["bob", "bob"]


async def test_nothing_is_forgotten_while_a_message_is_being_sent(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    await talk.acknowledges("bob", dm, await talk.say(dm, "alice"))
    async with talk.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM conversations WHERE id = $1 FOR NO KEY UPDATE", dm)
        await talk.look()
        assert len(await talk.due()) == 1
    await talk.look()
    assert await talk.due() == []


async def test_who_dies_after_the_claim_leaves_it_to_others(talk: Talk) -> None:
    dm = await talk.dm("alice", "bob")
    await talk.say(dm, "alice")
    assert await talk.pool.fetch(CLAIM, timedelta(0), EVER, 10)
    assert await talk.calls() == []
    assert await talk.look_at_all() == ["bob"]


async def test_replicas_that_look_at_the_same_call_each_member_once(talk: Talk) -> None:
    everybody = [f"user{number}" for number in range(300)]
    await talk.pool.execute("INSERT INTO users (id) SELECT unnest($1::text[])", everybody)
    group = await talk.group("alice", *everybody)
    await talk.say(group, "alice")
    called = await asyncio.gather(*(talk.pool.fetch(CALL, [group], [1]) for _ in range(8)))
    assert sum(len(rows) for rows in called) == 300
    assert sorted(await talk.look_at_all()) == sorted(everybody)


async def test_marks_sends_and_looks_at_once_do_not_wait_for_each_other_in_a_circle(talk: Talk) -> None:
    groups = [await talk.group("alice", "bob", "carol", "dave") for _ in range(5)]

    async def talks(user_id: str) -> None:
        for number in range(40):
            group = groups[number % 5]
            seq = await talk.say(group, user_id)
            wanted = [Mark(one, user_id, delivered=min(seq, number // 5)) for one in groups]
            await mark(talk.pool, wanted[number % 3 :])

    async def looks() -> None:
        for _ in range(60):
            await talk.look()

    await asyncio.gather(*(talks(user_id) for user_id in ("alice", "bob", "carol", "dave")), looks(), looks())
    await talk.look_at_all()
    assert not await talk.pool.fetchval(
        "SELECT EXISTS (SELECT FROM members m JOIN conversations c ON c.id = m.conversation_id "
        "WHERE m.delivered_seq < c.last_seq - 5 AND m.pushed_seq <= m.delivered_seq)"
    ), "who is behind was called"
    calls = [(call["to"], call["conversation_id"], call["seq"]) for call in await talk.calls()]
    assert len(set(calls)) == len(calls)


async def test_a_message_costs_one_row_however_many_members(talk: Talk) -> None:
    everybody = [f"user{number}" for number in range(1000)]
    await talk.pool.execute("INSERT INTO users (id) SELECT unnest($1::text[])", everybody)
    group = await talk.group(*everybody)
    for _ in range(3):
        await talk.say(group, "user0")
    (row,) = await talk.due()
    assert (row["conversation_id"], row["seq"]) == (group, 1)
    assert len(await talk.look_at_all()) == 999


async def test_without_an_address_nothing_happens(pool: Pool) -> None:
    async with talking(pool, pushing=False) as talk:
        dm = await talk.dm("alice", "bob")
        await talk.say(dm, "alice")
        assert await talk.due() == []


async def test_a_call_fits_into_a_message_whatever_is_in_it(talk: Talk) -> None:
    await talk.pool.execute("UPDATE users SET name = repeat(chr(1), 100)")
    dm = await talk.dm("alice", "bob")
    await talk.say(dm, "alice", "\x01" * 4096)
    assert await talk.look_at_all() == ["bob"]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_looks_find_their_rows_by_indexes_however_much_there_is(talk: Talk, mode: str) -> None:
    await talk.pool.execute(
        """
        WITH many AS (
            INSERT INTO conversations (kind, name, last_id, last_seq, member_count)
            SELECT 'group', 'Many', c.last_id, 0, 2
            FROM generate_series(1, 3000), (SELECT 1::bigint AS last_id) c RETURNING id
        ), seats AS (
            INSERT INTO members (conversation_id, user_id, joined_seq, joined_id, delivered_seq, read_seq)
            SELECT id, who, 0, 0, 0, 0 FROM many, unnest(ARRAY['alice', 'bob']) AS who
        )
        INSERT INTO chat_push_due (conversation_id, since, seq) SELECT id, now(), 0 FROM many
        """
    )
    dm = await talk.dm("alice", "bob")
    await talk.say(dm, "alice")
    await talk.pool.execute(
        "UPDATE chat_push_due SET since = since - interval '2 hours' WHERE conversation_id = $1", dm
    )
    async with talk.pool.acquire() as connection:
        await connection.execute("ANALYZE")
        claim = await read(connection, CLAIM, [AFTER, 3 * AFTER + BACK, CONVERSATIONS_AT_ONCE], mode)
        claim.must(index="chat_push_due_since", rows=5, buffers=60)
        call = await read(connection, CALL, [[dm], [1]], mode)
        call.must(index="members_pkey", rows=15, buffers=200)
