"""Chat messages for later: what the channel of their lane makes of them, and who may see and call them off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from dispatcher.channels.contract import Delivered, Envelope, Outcome, Rejected
from dispatcher.chat.channel import ConversationChannel
from dispatcher.chat.happened import nobody
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.schedule import recipient, schedule
from dispatcher.chat.seat import find_seat
from dispatcher.chat.send import NewChatMessage, Sender
from dispatcher.chat.waiting import call_off, waiting
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, NotFoundError
from dispatcher.kernel.lifecycle import background


@asynccontextmanager
async def channel_on(pool: Pool) -> AsyncIterator[ConversationChannel]:
    sender = Sender(pool, nobody)
    async with background("chat sender", sender.run):
        yield ConversationChannel(pool, sender)


@pytest.fixture
async def channel(pool: Pool) -> AsyncIterator[ConversationChannel]:
    async with channel_on(pool) as opened:
        yield opened


@pytest.fixture
async def dm(pool: Pool) -> int:
    await pool.execute("INSERT INTO users (id) SELECT unnest(ARRAY['alice', 'bob'])")
    return await Pairs(pool, nobody).open("alice", "bob")


def envelope(placed: str, *, attempt: int = 1, id_: int = 7) -> Envelope:
    return Envelope(id_, placed, "later", attempt, "c-1")


async def outcome(channel: ConversationChannel, one: Envelope) -> Outcome:
    (found,) = await channel.deliver_batch([one], seconds=5)
    return found


async def test_attempted_twice_it_is_one_message(pool: Pool, channel: ConversationChannel, dm: int) -> None:
    placed = recipient(dm, "alice")
    first = await outcome(channel, envelope(placed))
    assert isinstance(first, Delivered)
    assert await outcome(channel, envelope(placed)) == first, "by a replica that does not know"
    assert await outcome(channel, envelope(placed, attempt=2)) == first
    assert await outcome(channel, envelope(placed, id_=8)) != first
    assert await pool.fetchval("SELECT count(*) FROM chat_messages") == 2


async def test_a_repeat_is_none_however_long_the_service_was_down(
    pool: Pool, channel: ConversationChannel, dm: int
) -> None:
    placed = recipient(dm, "alice")
    first = await outcome(channel, envelope(placed))
    two_days = 2 * 86_400_000 << 20
    await pool.execute("UPDATE chat_messages SET id = id - $1", two_days)
    await pool.execute("UPDATE conversations SET last_id = last_id - $1", two_days)
    again = await outcome(channel, envelope(placed, attempt=2))
    assert isinstance(first, Delivered)
    assert isinstance(again, Delivered)
    assert first.at - again.at == timedelta(days=2)
    assert await pool.fetchval("SELECT count(*) FROM chat_messages") == 1


@pytest.mark.parametrize(
    "placed", ["17", "17/", "/alice", "x/alice", "²/alice", f"{2**64}/alice", "999999/alice"]
)
async def test_what_no_conversation_is_for_is_refused(channel: ConversationChannel, placed: str) -> None:
    assert isinstance(await outcome(channel, envelope(placed)), Rejected)


async def test_who_is_gone_sends_nothing_any_more(pool: Pool, channel: ConversationChannel, dm: int) -> None:
    await pool.execute("UPDATE conversations SET closed_at = now()")
    assert isinstance(await outcome(channel, envelope(recipient(dm, "alice"))), Rejected)
    await pool.execute("UPDATE members SET left_seq = 0 WHERE user_id = 'alice'")
    assert isinstance(await outcome(channel, envelope(recipient(dm, "alice"))), Rejected)


async def test_ones_own_are_listed_and_called_off(pool: Pool, dm: int) -> None:
    told: list[datetime] = []
    in_an_hour = utc_now() + timedelta(hours=1)
    soon = NewChatMessage(dm, "alice", "second", "c-2")
    first = await schedule(pool, NewChatMessage(dm, "alice", "first"), in_an_hour, arrived=told.append)
    second = await schedule(pool, soon, in_an_hour + timedelta(hours=1), arrived=told.append)
    assert await schedule(pool, soon, in_an_hour) == type(second)(second.message_id, repeated=True)
    assert told == [in_an_hour, in_an_hour + timedelta(hours=1)]
    alice, bob = await find_seat(pool, dm, "alice"), await find_seat(pool, dm, "bob")
    assert [(one.message_id, one.content) for one in await waiting(pool, alice)] == [
        (first.message_id, "first"),
        (second.message_id, "second"),
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
