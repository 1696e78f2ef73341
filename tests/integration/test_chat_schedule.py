"""Messages for later: they wait on the lane `chat`, and are sent once when they are due, however often they are tried."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.chatting import Talk, talking

from dispatcher.channels.contract import Delivered, Envelope, Rejected
from dispatcher.chat.channel import ConversationChannel
from dispatcher.chat.group_members import remove_member
from dispatcher.chat.groups import add_group
from dispatcher.chat.happened import nobody
from dispatcher.chat.history import newest
from dispatcher.chat.schedule import (
    LANE,
    MAX_WAITING,
    TOLERANCE,
    Scheduled,
    due,
    is_later,
    recipient,
    schedule,
)
from dispatcher.chat.seat import find_seat
from dispatcher.chat.send import NewChatMessage
from dispatcher.chat.waiting import call_off
from dispatcher.kernel.clock import elapsed, utc_now
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, ForbiddenError, NotFoundError

LATER = timedelta(hours=1)


@pytest.fixture
async def talk(pool: Pool) -> AsyncIterator[Talk]:
    async with talking(pool, "alice", "bob", "carol") as running:
        yield running


async def envelope(pool: Pool, message_id: int, attempt: int = 1) -> Envelope:
    row = await pool.fetchrow("SELECT * FROM messages WHERE id = $1", message_id)
    assert row is not None
    assert (row["lane"], row["state"]) == (LANE, "pending")
    return Envelope(message_id, row["recipient_phone"], row["content"], attempt, "test")


async def test_a_message_for_later_waits_and_is_sent_once(talk: Talk) -> None:
    pair, at = await talk.pairs.open("alice", "bob"), utc_now() + LATER
    new = NewChatMessage(pair, "alice", "Happy birthday", "c-1", at)
    waiting = await schedule(talk.pool, {}, new, at)
    assert await talk.pool.fetchval("SELECT deliver_at FROM messages") == at
    repeated = await schedule(talk.pool, {}, new, at)
    assert (repeated.message_id, repeated.repeated, waiting.repeated) == (waiting.message_id, True, False)
    unnamed = [await schedule(talk.pool, {}, NewChatMessage(pair, "bob", "x"), at) for _ in range(2)]
    assert unnamed[0] != unnamed[1]
    assert (await find_seat(talk.pool, pair, "bob")).last_seq == 0

    channel = ConversationChannel(talk.sender, talk.pool)
    ids = [waiting.message_id, *(one.message_id for one in unnamed)]
    tried = [
        outcome
        for _ in range(3)
        for outcome in await channel.deliver_batch(
            [await envelope(talk.pool, id_) for id_ in ids], until=elapsed() + 5
        )
    ]
    assert all(isinstance(outcome, Delivered) for outcome in tried)
    late = await channel.deliver_batch([await envelope(talk.pool, waiting.message_id)], until=elapsed() - 1)
    assert late == [None], "no attempt at all"
    page = await newest(talk.pool, await find_seat(talk.pool, pair, "bob"), limit=9)
    assert [message.content for message in page.messages] == ["Happy birthday", "x", "x"]
    assert {outcome.receipt_id for outcome in tried if isinstance(outcome, Delivered)} == {
        f"{pair}/{message.id}" for message in page.messages
    }


async def test_only_so_many_wait_in_a_conversation(talk: Talk) -> None:
    pair, at = await talk.pairs.open("alice", "bob"), utc_now() + LATER
    await talk.pool.execute(
        """
        INSERT INTO messages (lane, recipient_phone, content, deliver_at)
        SELECT $1, $2, 'x', $3 FROM generate_series(1, $4::int)
        """,
        *(LANE, recipient(pair, "alice"), at, MAX_WAITING - 1),
    )
    both = await asyncio.gather(
        *(schedule(talk.pool, {}, NewChatMessage(pair, "alice", "x", f"c-{n}"), at) for n in range(2)),
        return_exceptions=True,
    )
    (last,) = (one for one in both if isinstance(one, Scheduled))
    await schedule(talk.pool, {}, NewChatMessage(pair, "bob", "x"), at)
    await call_off(talk.pool, await find_seat(talk.pool, pair, "alice"), last.message_id)
    refused = next(n for n, one in enumerate(both) if isinstance(one, ConflictError))
    again = await schedule(talk.pool, {}, NewChatMessage(pair, "alice", "x", f"c-{refused}"), at)
    assert not again.repeated, "what was refused is no repeat"


async def test_what_can_no_longer_be_sent_is_rejected(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob"])).conversation_id
    waiting = await schedule(talk.pool, {}, NewChatMessage(group, "bob", "later"), utc_now() + LATER)
    await remove_member(talk.pool, nobody, group, "bob", by="bob")
    channel = ConversationChannel(talk.sender, talk.pool)
    by_hand = [
        Envelope(n, placed, "x", 1, "test")
        for n, placed in enumerate(
            ["+905551111111", "1", "/alice", f"{group}/", "9" * 30 + "/alice", "²/alice"]
        )
    ]
    outcomes = await channel.deliver_batch(
        [await envelope(talk.pool, waiting.message_id), *by_hand], until=elapsed() + 5
    )
    assert all(isinstance(outcome, Rejected) for outcome in outcomes)
    assert isinstance(outcomes[0], Rejected)
    assert "no longer a member" in outcomes[0].error


async def test_who_may_not_send_may_not_schedule(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob"])).conversation_id
    await remove_member(talk.pool, nobody, group, "bob", by="bob")
    pair, at = await talk.pairs.open("alice", "bob"), utc_now() + LATER
    await talk.pool.execute("UPDATE conversations SET closed_at = now() WHERE id = $1", pair)
    for new, error in (
        (NewChatMessage(group, "bob", "x"), ForbiddenError),
        (NewChatMessage(group, "carol", "x"), NotFoundError),
        (NewChatMessage(pair, "alice", "x", kind="group"), NotFoundError),
        (NewChatMessage(pair, "alice", "x"), ConflictError),
    ):
        with pytest.raises(error):
            await schedule(talk.pool, {}, new, at)
    assert await talk.pool.fetchval("SELECT count(*) FROM messages") == 0


def test_what_is_later() -> None:
    assert [is_later(None), is_later(utc_now() + TOLERANCE / 2), is_later(utc_now() + 2 * TOLERANCE)] == [
        *(False, False, True)
    ]
    assert due(7, "17/al/ice", "x") == NewChatMessage(17, "al/ice", "x", "scheduled:7")
