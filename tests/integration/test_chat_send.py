"""Sending: dense numbers, one order, repeats found, however many replicas and however busy a conversation."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.chatting import Talk, talking

from dispatcher.chat.group_members import remove_member
from dispatcher.chat.groups import add_group, close_group
from dispatcher.chat.happened import Sent, nobody
from dispatcher.chat.history import EVERYTHING, newest
from dispatcher.chat.ids import sent_at
from dispatcher.chat.months import Month
from dispatcher.chat.seat import find_seat
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError

SECOND = timedelta(seconds=1)


@pytest.fixture
async def talk(pool: Pool) -> AsyncIterator[Talk]:
    async with talking(pool, "alice", "bob", "carol") as running:
        yield running


@pytest.fixture
async def other(db_url: str) -> AsyncIterator[Talk]:
    """Another replica."""
    async with connected_pool(db_url, application="other", size=5) as pool, talking(pool) as running:
        yield running


async def test_numbers_are_dense_and_ids_rise_with_time(talk: Talk) -> None:
    place = await talk.pairs.open("alice", "bob")
    results = [await talk.say(place, who, f"n {n}") for n in range(5) for who in ("alice", "bob")]
    assert [result.message.seq for result in results] == list(range(1, 11))
    ids = [result.message.id for result in results]
    assert ids == sorted(set(ids))
    assert abs(sent_at(ids[-1]) - utc_now()) < 10 * SECOND
    assert {result.peer for result in results} == {"alice", "bob"}


async def test_many_senders_on_two_replicas_share_one_order(talk: Talk, other: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob", "carol"])).conversation_id
    pair = await talk.pairs.open("alice", "bob")
    where = [
        (replica, place, who)
        for replica in (talk, other)
        for place in (group, pair)
        for who in ("alice", "bob")
    ]
    results = await asyncio.gather(
        *(replica.say(place, who, f"{n}") for n in range(25) for replica, place, who in where)
    )
    for place in (group, pair):
        in_place = sorted(
            (result.message for result in results if result.message.conversation_id == place),
            key=lambda message: message.seq,
        )
        assert [message.seq for message in in_place] == list(range(1, 101))
        assert [message.id for message in in_place] == sorted({message.id for message in in_place})
        seat = await find_seat(talk.pool, place, "alice")
        assert (seat.last_seq, seat.last_id) == (100, in_place[-1].id)
        assert list((await newest(talk.pool, seat, limit=100, span=EVERYTHING)).messages) == in_place
    for replica in (talk, other):
        told = [one.message for one in replica.told if isinstance(one, Sent)]
        assert len(told) == 100
        for place in (group, pair):
            seqs = [message.seq for message in told if message.conversation_id == place]
            assert seqs == sorted(seqs), "told in the order of the conversation"


async def test_repeats_that_race_on_two_replicas_are_one_message(talk: Talk, other: Talk) -> None:
    place = await talk.pairs.open("alice", "bob")
    results = await asyncio.gather(
        *(
            replica.say(place, "alice", f"text {n}", client_id=f"c-{n}")
            for n in range(20)
            for replica in (talk, other, talk, other)
        )
    )
    assert sorted(result.message.seq for result in results if not result.repeated) == list(range(1, 21))
    by_id = {result.message.client_id: result.message for result in results if not result.repeated}
    assert all(result.message == by_id[result.message.client_id] for result in results)
    assert sum(isinstance(one, Sent) for one in (*talk.told, *other.told)) == 20
    assert await talk.pool.fetchval("SELECT count(*) FROM chat_messages") == 20
    # another user's id is another message
    assert not (await talk.say(place, "bob", client_id="c-1")).repeated


async def test_a_pair_that_both_open_at_once_is_one_conversation(talk: Talk, other: Talk) -> None:
    opened = await asyncio.gather(
        *(
            replica.pairs.open(*who)
            for replica in (talk, other)
            for who in (("bob", "carol"), ("carol", "bob"))
        )
    )
    assert len(set(opened)) == 1
    assert await talk.pool.fetchval("SELECT count(*) FROM members WHERE conversation_id = $1", opened[0]) == 2


async def test_who_may_not_send_and_what_it_costs_the_others(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob"])).conversation_id
    pair = await talk.pairs.open("alice", "bob")
    await remove_member(talk.pool, nobody, group, "bob", by="bob")
    mixed = await asyncio.gather(
        talk.say(group, "alice"),
        talk.say(group, "bob"),
        talk.say(group, "carol"),
        talk.say(10**6, "alice"),
        talk.say(pair, "alice", kind="group"),
        talk.say(group, "alice", kind="group"),
        return_exceptions=True,
    )
    assert [type(one) for one in mixed[1:5]] == [ForbiddenError, NotFoundError, NotFoundError, NotFoundError]
    assert not isinstance(mixed[0], BaseException)
    assert not isinstance(mixed[5], BaseException)
    assert [mixed[0].message.seq, mixed[5].message.seq] == [1, 2]
    await close_group(talk.pool, nobody, group, "alice")
    with pytest.raises(ForbiddenError):
        await talk.say(group, "alice")
    with pytest.raises(NotFoundError, match="nobody-here"):
        await talk.pairs.open("alice", "nobody-here")
    with pytest.raises(ForbiddenError, match="no user here yet"):
        await talk.pairs.open("nobody-here", "alice")
    with pytest.raises(InvalidRequestError):
        await talk.pairs.open("alice", "alice")


async def test_a_closed_conversation_takes_nothing(talk: Talk) -> None:
    pair = await talk.pairs.open("alice", "bob")
    await talk.pool.execute("UPDATE conversations SET closed_at = now() WHERE id = $1", pair)
    with pytest.raises(ConflictError):
        await talk.say(pair, "alice")


async def test_a_clock_that_goes_back_does_not_reorder(talk: Talk) -> None:
    pair = await talk.pairs.open("alice", "bob")
    ahead = (await talk.say(pair, "alice")).message.id + (60_000 << 20)
    await talk.pool.execute("UPDATE conversations SET last_id = $2 WHERE id = $1", pair, ahead)
    assert (await talk.say(pair, "bob")).message.id == ahead + 1


async def test_a_sender_who_was_up_to_date_stays_so_and_no_other(talk: Talk) -> None:
    pair = await talk.pairs.open("alice", "bob")
    await talk.say(pair, "alice")
    await talk.say(pair, "alice")
    assert (await find_seat(talk.pool, pair, "alice")).unread == 0
    bob = await find_seat(talk.pool, pair, "bob")
    assert (bob.unread, bob.delivered_seq) == (2, 0)
    await talk.say(pair, "bob")  # who has not acknowledged what alice wrote: it is not read because he writes
    bob = await find_seat(talk.pool, pair, "bob")
    assert (bob.unread, bob.delivered_seq, bob.read_seq) == (3, 0, 0)


async def test_a_send_is_two_statements_in_one_transaction(db_url: str) -> None:
    heard: list[str] = []
    async with (
        connected_pool(db_url, application="test", size=1) as pool,
        talking(pool, "alice", "bob") as one,
    ):
        pair = await one.pairs.open("alice", "bob")
        await one.say(pair, "alice", client_id="first")
        async with pool.acquire() as connection:
            connection.add_query_logger(lambda query: heard.append(" ".join(query.query.split())[:11]))
        assert await one.pairs.open("alice", "bob") == pair
        await one.say(pair, "alice", client_id="second")
        assert heard == ["BEGIN;", "SELECT FROM", "WITH given ", "COMMIT;"]
        heard.clear()
        await asyncio.gather(*(one.say(pair, "alice", client_id=f"n-{n}") for n in range(50)))
        # the first goes alone, all that came meanwhile go together
        assert heard.count("COMMIT;") <= 2


async def test_a_month_that_is_missing_is_made(talk: Talk) -> None:
    pair = await talk.pairs.open("alice", "bob")
    this = Month(utc_now().date().replace(day=1))
    await talk.pool.execute(f"DROP TABLE {this.name}")
    assert (await talk.say(pair, "alice")).message.seq == 1
