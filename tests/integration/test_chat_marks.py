"""Watermarks: forward only, never beyond what was sent, and what follows from them for status and unread."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from tests.integration.chatting import Talk, talking
from tests.integration.rows import until_waiting

from dispatcher.chat.change import edit, erase
from dispatcher.chat.group_members import add_member, change_role, members_of, remove_member
from dispatcher.chat.groups import add_group
from dispatcher.chat.happened import Changed, nobody
from dispatcher.chat.history import changes
from dispatcher.chat.inbox import inbox
from dispatcher.chat.limits import MAX_MEMBERS
from dispatcher.chat.mark import Mark, Marks, NoSeat, TooHigh, mark
from dispatcher.chat.seat import find_seat
from dispatcher.chat.status import find_hindmost, find_receipts
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, ForbiddenError, NotFoundError


@pytest.fixture
async def talk(pool: Pool) -> AsyncIterator[Talk]:
    async with talking(pool, "alice", "bob", "carol", "dave") as running:
        yield running


async def test_marks_go_forward_and_no_further_than_what_was_sent(talk: Talk) -> None:
    pair = await talk.pairs.open("alice", "bob")
    for _ in range(5):
        await talk.say(pair, "alice")

    async def bob(**how: int) -> object:
        return (await mark(talk.pool, [Mark(pair, "bob", **how)]))[0]

    assert await bob(delivered=3) == Marks(3, 0, moved=True)
    assert await bob(delivered=3) == Marks(3, 0, moved=False), "stale"
    assert await bob(delivered=1) == Marks(3, 0, moved=False), "lower"
    assert await bob(read=4) == Marks(4, 4, moved=True), "read means received"
    assert await bob(read=2) == Marks(4, 4, moved=False)
    assert await bob(read=6) == TooHigh(5)
    assert await bob(delivered=10**18) == TooHigh(5)
    assert await bob(delivered=5, read=6) == TooHigh(5), "and nothing of it counts"
    seat = await find_seat(talk.pool, pair, "bob")
    assert (seat.delivered_seq, seat.read_seq, seat.unread) == (4, 4, 1)
    assert (
        await mark(talk.pool, [Mark(pair, "carol", read=1), Mark(10**6, "bob", read=1)])
        == [NoSeat(was_member=False)] * 2
    )


async def test_a_mark_that_waits_for_a_send_of_the_same_member_is_good(talk: Talk) -> None:
    pair = await talk.pairs.open("alice", "bob")
    for _ in range(5):
        await talk.say(pair, "alice")
    async with talk.pool.acquire() as sending:
        async with sending.transaction():
            await sending.execute("UPDATE conversations SET last_seq = 6 WHERE id = $1", pair)
            await sending.execute(
                "UPDATE members SET delivered_seq = 6 WHERE conversation_id = $1 AND user_id = 'alice'", pair
            )
            marking = asyncio.create_task(mark(talk.pool, [Mark(pair, "alice", read=5)]))
            await until_waiting(talk.pool)
        assert await marking == [Marks(6, 5, moved=False)]


async def test_many_marks_at_once_in_any_order_while_messages_come(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob", "carol"])).conversation_id
    places = [group, await talk.pairs.open("alice", "bob"), await talk.pairs.open("alice", "carol")]
    for place in places:
        await asyncio.gather(*(talk.say(place, "alice") for _ in range(20)))
    choose = random.Random(7)
    whole = [(place, who) for place in places for who in ("alice", "bob", "carol")]

    async def marks() -> None:
        for _ in range(15):
            chosen = choose.sample(whole, k=4)
            await mark(talk.pool, [Mark(place, who, read=choose.randint(1, 20)) for place, who in chosen])

    async def sends() -> None:
        for _ in range(15):
            await asyncio.gather(*(talk.say(place, "alice") for place in choose.sample(places, k=3)))

    await asyncio.gather(marks(), sends(), marks(), sends(), marks())
    rows = await talk.pool.fetch("SELECT * FROM members m JOIN conversations c ON c.id = m.conversation_id")
    assert all(0 <= row["read_seq"] <= row["delivered_seq"] <= row["last_seq"] == 50 for row in rows)


async def test_status_is_what_all_the_others_have(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob", "carol"])).conversation_id
    message = (await talk.say(group, "alice")).message

    async def status() -> str:
        return (await find_hindmost(talk.pool, group)).status(message)

    async def counts() -> tuple[int, int, int]:
        found = await find_receipts(talk.pool, message, member_count=3)
        return found.members, found.delivered, found.read

    assert (await status(), await counts()) == ("sent", (2, 0, 0))
    await mark(talk.pool, [Mark(group, "bob", read=1)])
    assert (await status(), await counts()) == ("sent", (2, 1, 1))
    await mark(talk.pool, [Mark(group, "carol", delivered=1)])
    assert (await status(), await counts()) == ("delivered", (2, 2, 1))
    found = await find_receipts(talk.pool, message, member_count=3)
    assert found.by == [("bob", "read"), ("carol", "delivered")]
    assert (await find_receipts(talk.pool, message, member_count=257)).by is None
    await add_member(talk.pool, nobody, group, "dave", by="alice", role="member")
    assert (await status(), await counts()) == ("delivered", (2, 2, 1)), "dave came later"
    await remove_member(talk.pool, nobody, group, "carol", by="alice")
    assert (await status(), await counts()) == ("read", (1, 1, 1))


async def test_who_comes_again_sees_what_is_sent_from_then_on(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob"])).conversation_id
    await talk.say(group, "alice", "before")
    await remove_member(talk.pool, nobody, group, "bob", by="bob")
    missed = (await talk.say(group, "alice", "meanwhile")).message
    member, came = await add_member(talk.pool, nobody, group, "bob", by="alice", role="member")
    assert (came, member.read_seq) == (True, 2)
    assert (await add_member(talk.pool, nobody, group, "bob", by="alice", role="member"))[1] is False
    seat = await find_seat(talk.pool, group, "bob")
    assert (seat.unread, seat.joined_id) == (0, missed.id)
    assert (await inbox(talk.pool, "bob", limit=9))[0].last is None
    await talk.say(group, "alice", "after")
    (entry,) = await inbox(talk.pool, "bob", limit=9)
    assert entry.last is not None
    assert (entry.last.content, entry.seat.unread, entry.seat.member_count) == ("after", 1, 2)


async def test_an_owner_who_leaves_leaves_another(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob", "carol"])).conversation_id
    await change_role(talk.pool, nobody, group, "carol", by="alice", role="admin")
    with pytest.raises(ConflictError):
        await change_role(talk.pool, nobody, group, "alice", by="alice", role="member")
    with pytest.raises(ForbiddenError):
        await remove_member(talk.pool, nobody, group, "alice", by="carol")
    with pytest.raises(ForbiddenError):
        await add_member(talk.pool, nobody, group, "dave", by="carol", role="admin")
    await remove_member(talk.pool, nobody, group, "alice", by="alice")
    assert [(one.user_id, one.role) for one in await members_of(talk.pool, group)] == [
        ("bob", "member"),
        ("carol", "owner"),
    ]
    await change_role(talk.pool, nobody, group, "bob", by="carol", role="owner")
    assert {one.user_id: one.role for one in await members_of(talk.pool, group)} == {
        "bob": "owner",
        "carol": "admin",
    }
    for who in ("bob", "carol"):
        await remove_member(talk.pool, nobody, group, who, by=who)
    assert await members_of(talk.pool, group) == []


async def test_a_group_has_an_end(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", [])).conversation_id
    await talk.pool.execute("UPDATE conversations SET member_count = $2 WHERE id = $1", group, MAX_MEMBERS)
    with pytest.raises(ConflictError, match="full"):
        await add_member(talk.pool, nobody, group, "bob", by="alice", role="member")
    assert len(await members_of(talk.pool, group)) == 1


async def test_changes_are_numbered_and_found_by_those_who_were_away(talk: Talk) -> None:
    pair = await talk.pairs.open("alice", "bob")
    ids = [(await talk.say(pair, "alice", f"{n}")).message.id for n in range(4)]

    async def edited(id_: int, content: str, who: str = "alice") -> object:
        return await edit(talk.pool, talk.told.append, pair, id_, who, content=content)

    await edited(ids[2], "two, better")
    gone = await erase(talk.pool, talk.told.append, pair, ids[0], "alice")
    assert (gone.content, gone.change) == ("", 2)
    assert await erase(talk.pool, talk.told.append, pair, ids[0], "alice") == gone, "once is enough"
    for id_, who, error in (
        (ids[0], "alice", ConflictError),
        (ids[1], "bob", ForbiddenError),
        (ids[1], "carol", NotFoundError),
        (ids[1] + 1, "alice", NotFoundError),
    ):
        with pytest.raises(error):
            await edited(id_, "x", who)
    await edited(ids[2], "two, best")
    seat = await find_seat(talk.pool, pair, "bob")
    assert [(m.seq, m.content, m.change) for m in await changes(talk.pool, seat, 0, limit=9)] == [
        (1, "", 2),
        (3, "two, best", 3),
    ]
    assert [m.seq for m in await changes(talk.pool, seat, 2, limit=9)] == [3]
    assert await changes(talk.pool, seat, seat.last_change, limit=9) == []
    assert [one.message.change for one in talk.told if isinstance(one, Changed)] == [1, 2, 3]


async def test_an_edit_and_a_deletion_that_race_leave_nothing_of_the_content(talk: Talk) -> None:
    pair = await talk.pairs.open("alice", "bob")
    ids = [(await talk.say(pair, "alice", f"{n}")).message.id for n in range(10)]
    await asyncio.gather(
        *(
            work
            for id_ in ids
            for work in (
                edit(talk.pool, nobody, pair, id_, "alice", content="secret"),
                erase(talk.pool, nobody, pair, id_, "alice"),
            )
        ),
        return_exceptions=True,
    )
    assert await talk.pool.fetchval("SELECT count(*) FROM chat_messages WHERE content <> ''") == 0


async def test_the_inbox_is_by_activity_and_goes_on_where_it_ended(talk: Talk) -> None:
    pairs = [await talk.pairs.open("alice", who) for who in ("bob", "carol", "dave")]
    for place in (pairs[0], pairs[2], pairs[1], pairs[0]):
        await talk.say(place, "alice")
    first = await inbox(talk.pool, "alice", limit=2)
    rest = await inbox(talk.pool, "alice", limit=2, after=first[-1].place)
    assert [entry.seat.conversation_id for entry in (*first, *rest)] == [pairs[0], pairs[1], pairs[2]]
    assert [entry.seat.peer for entry in (*first, *rest)] == ["bob", "carol", "dave"]
    assert await inbox(talk.pool, "alice", limit=2, kind="group") == []
