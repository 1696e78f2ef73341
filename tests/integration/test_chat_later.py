"""Chat messages for later: whose they are, and that a repeat is none however long the service was down."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.chatting import Talk, talking
from tests.integration.living import add_users, connected, living
from tests.integration.plans import read

from dispatcher.channels.contract import Delivered, Envelope, Outcome
from dispatcher.chat.channel import ConversationChannel
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.schedule import LANE, SENT, recipient, schedule
from dispatcher.chat.seat import find_seat
from dispatcher.chat.send import NewChatMessage
from dispatcher.chat.waiting import WAITING, call_off, waiting
from dispatcher.kernel.clock import elapsed, utc_now
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, NotFoundError

LATER = timedelta(hours=1)


@pytest.fixture
async def talk(pool: Pool) -> AsyncIterator[Talk]:
    async with talking(pool, "alice", "bob") as running:
        yield running


async def outcome(talk: Talk, placed: str, *, attempt: int) -> Outcome | None:
    channel = ConversationChannel(talk.sender, talk.pool)
    envelope = Envelope(7, placed, "later", attempt, "c-1")
    (found,) = await channel.deliver_batch([envelope], until=elapsed() + 5)
    return found


async def test_a_repeat_is_none_however_long_the_service_was_down(talk: Talk) -> None:
    placed = recipient(await talk.pairs.open("alice", "bob"), "alice")
    first = await outcome(talk, placed, attempt=1)
    two_days = 2 * 86_400_000 << 20
    await talk.pool.execute("UPDATE chat_messages SET id = id - $1", two_days)
    await talk.pool.execute("UPDATE conversations SET last_id = last_id - $1", two_days)
    again = await outcome(talk, placed, attempt=2)
    assert isinstance(first, Delivered)
    assert isinstance(again, Delivered)
    assert first.at - again.at == pytest.approx(timedelta(days=2).total_seconds())
    assert await talk.pool.fetchval("SELECT count(*) FROM chat_messages") == 1


async def test_ones_own_are_listed_and_called_off(talk: Talk) -> None:
    pool, pair, at = talk.pool, await talk.pairs.open("alice", "bob"), utc_now() + LATER
    second = await schedule(pool, {}, NewChatMessage(pair, "alice", "second"), at + LATER)
    first = await schedule(pool, {}, NewChatMessage(pair, "alice", "first"), at)
    alice, bob = await find_seat(pool, pair, "alice"), await find_seat(pool, pair, "bob")
    assert [(one.message_id, one.content, one.at) for one in await waiting(pool, alice)] == [
        (first.message_id, "first", at),
        (second.message_id, "second", at + LATER),
    ]
    assert await waiting(pool, bob) == []
    with pytest.raises(NotFoundError):
        await call_off(pool, bob, first.message_id)
    await call_off(pool, alice, first.message_id)
    await call_off(pool, alice, first.message_id)
    assert [one.content for one in await waiting(pool, alice)] == ["second"]
    await pool.execute(
        "UPDATE messages SET state = 'failed', held_at = now() WHERE id = $1", second.message_id
    )
    with pytest.raises(ConflictError):
        await call_off(pool, alice, second.message_id)


async def test_a_repeat_over_a_socket_is_not_sent_a_second_time(pool: Pool, redis_url: str) -> None:
    await add_users(pool, "alice", "bob")
    at, past = utc_now() + LATER, utc_now().isoformat()
    async with living(pool, redis_url) as replica, connected(replica.endpoint, "alice") as hers:
        talk = await Pairs(pool, replica.live.tell).open("alice", "bob")
        first, second, third = [
            await schedule(pool, {}, NewChatMessage(talk, "alice", f"{n}", f"c-{n}", at), at)
            for n in (1, 2, 3)
        ]
        (sent,) = await ConversationChannel(replica.sender, pool).deliver_batch(
            [Envelope(first.message_id, recipient(talk, "alice"), "1", 1, "claim")], until=elapsed() + 5
        )
        assert isinstance(sent, Delivered)
        await call_off(pool, await find_seat(pool, talk, "alice"), second.message_id)
        for number in (1, 2, 3, 4):
            hers.say(
                "send",
                id=number,
                conversation_id=talk,
                content="again",
                client_id=f"c-{number}",
                timestamp=past,
            )
        again = await hers.answer(1)
        assert (again["type"], again["repeated"], again["message"]["content"]) == ("sent", True, "1")
        for waiting, state in ((second, "cancelled"), (third, "scheduled")):
            refused = await hers.answer(2 if waiting is second else 3)
            assert (refused["status"], refused["temporary"]) == (409, False)
            assert refused["detail"].endswith(f"scheduled_id {waiting.message_id}, which is {state}")
        assert (await hers.answer(4))["type"] == "sent"
        assert await pool.fetchval("SELECT array_agg(content ORDER BY seq) FROM chat_messages") == [
            "1",
            "again",
        ]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_looking_for_them_reads_what_is_theirs(talk: Talk, mode: str) -> None:
    pair = await talk.pairs.open("alice", "bob")
    for _ in range(3):
        await talk.say(pair, "alice", client_id="scheduled:7")
    await talk.pool.execute(
        """
        WITH others AS (
            INSERT INTO messages (lane, recipient_phone, content, deliver_at)
            SELECT $1, n || '/alice', 'x', now() + interval '1 day' FROM generate_series(1000, 4000) n
        )
        INSERT INTO chat_messages (conversation_id, id, seq, sender_id, client_id, content)
        SELECT 1000 + n, m.id, 1, 'alice', 'scheduled:7', 'x'
        FROM generate_series(1, 3000) n, (SELECT max(id) AS id FROM chat_messages) m
        """,
        LANE,
    )
    await schedule(talk.pool, {}, NewChatMessage(pair, "alice", "mine"), utc_now() + LATER)
    async with talk.pool.acquire() as connection:
        await connection.execute("ANALYZE")
        listed = await read(connection, WAITING, [LANE, recipient(pair, "alice")], mode)
        listed.must(index="messages_pending_recipient", rows=1, buffers=20)
        sent = await read(connection, SENT, [pair, "alice", "scheduled:7"], mode)
        assert "Seq Scan" not in sent.kinds
        assert sent.rows <= 3
        assert sent.buffers <= 40
