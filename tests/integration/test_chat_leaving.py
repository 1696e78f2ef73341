"""Coming and going at the same time: nobody waits for each other in a circle, nobody goes twice, however many seats."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.integration.chatting import Talk, talking
from tests.integration.rows import until_waiting

from dispatcher.chat.group_members import add_member, change_role, members_of, remove_member
from dispatcher.chat.groups import add_group
from dispatcher.chat.happened import Rearranged, nobody
from dispatcher.chat.mark import Mark, mark
from dispatcher.chat.remove_user import remove_user
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.errors import NotFoundError


@pytest.fixture
async def talk(pool: Pool) -> AsyncIterator[Talk]:
    async with talking(pool, "alice", "bob", "carol", "dave") as running:
        yield running


async def count(pool: Pool, group: int) -> int:
    found: int = await pool.fetchval("SELECT member_count FROM conversations WHERE id = $1", group)
    return found


async def test_one_comes_while_the_one_who_asks_for_it_is_removed(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "alice", "all", ["bob"])).conversation_id
    async with talk.pool.acquire() as holding, asyncio.TaskGroup() as both, holding.transaction():
        await holding.execute("SELECT FROM conversations WHERE id = $1 FOR NO KEY UPDATE", group)
        both.create_task(add_member(talk.pool, nobody, group, "dave", by="alice", role="member"))
        await until_waiting(talk.pool)
        both.create_task(remove_user(talk.pool, nobody, "alice"))
        await until_waiting(talk.pool, 2)
    assert [(one.user_id, one.role) for one in await members_of(talk.pool, group)] == [
        ("bob", "owner"),
        ("dave", "member"),
    ]
    assert await count(talk.pool, group) == 2


@pytest.mark.parametrize("what", ["change the owner", "leave"])
async def test_members_change_while_the_same_ones_mark(talk: Talk, what: str) -> None:
    group = (await add_group(talk.pool, nobody, "bob", "all", ["alice"])).conversation_id
    await talk.say(group, "bob")
    async with talk.pool.acquire() as holding, asyncio.TaskGroup() as both, holding.transaction():
        await holding.execute(
            "SELECT FROM members WHERE conversation_id = $1 AND user_id = 'alice' FOR NO KEY UPDATE",
            group,
        )
        both.create_task(
            mark(talk.pool, [Mark(group, "alice", delivered=1), Mark(group, "bob", delivered=1)])
        )
        await until_waiting(talk.pool)
        both.create_task(
            remove_member(talk.pool, nobody, group, "bob", by="bob")
            if what == "leave"
            else change_role(talk.pool, nobody, group, "alice", by="bob", role="owner")
        )
        await until_waiting(talk.pool, 2)
    (alice, *_) = await members_of(talk.pool, group)
    assert (alice.role, alice.delivered_seq) == ("owner", 1)


async def test_nobody_leaves_a_group_twice(talk: Talk) -> None:
    group = (await add_group(talk.pool, nobody, "bob", "all", ["alice", "carol"])).conversation_id
    async with talk.pool.acquire() as leaving:
        async with leaving.transaction():
            await leaving.execute("UPDATE conversations SET member_count = 2 WHERE id = $1", group)
            await leaving.execute(
                "UPDATE members SET left_seq = 0 WHERE conversation_id = $1 AND user_id = 'alice'", group
            )
            removing = asyncio.create_task(remove_user(talk.pool, nobody, "alice"))
            await until_waiting(talk.pool)
        await removing
    assert await count(talk.pool, group) == 2


async def test_nobody_opens_a_conversation_with_somebody_who_is_being_removed(talk: Talk) -> None:
    async with talk.pool.acquire() as removing:
        async with removing.transaction():
            await removing.execute("UPDATE users SET deleted_at = now() WHERE id = 'bob'")
            opening = asyncio.create_task(talk.pairs.open("alice", "bob"))
            await until_waiting(talk.pool)
        with pytest.raises(NotFoundError):
            await opening


async def test_a_user_with_thousands_of_seats_is_removed_by_a_few_statements(talk: Talk, db_url: str) -> None:
    pairs = [await talk.pairs.open("alice", who) for who in ("bob", "carol")]
    await talk.pool.execute(
        """
        WITH made AS (
            INSERT INTO conversations (kind, name, last_id, member_count)
            SELECT 'group', 'g', 0, 3 FROM generate_series(1, 3000) RETURNING id
        )
        INSERT INTO members (conversation_id, user_id, role, joined_seq, joined_id, delivered_seq, read_seq)
        SELECT id, who, role, 0, 0, 0, 0 FROM made, (VALUES ('alice', 'owner'), ('bob', 'member'), ('carol', 'admin')) AS
            m (who, role)
        """
    )
    said: list[str] = []
    told: list[Rearranged] = []

    def log(query: asyncpg.connection.LoggedQuery) -> None:
        said.append(query.query)

    async with connected_pool(db_url, application="test", size=1) as one:
        async with one.acquire() as connection:
            connection.add_query_logger(log)
        await remove_user(one, told.append, "alice")  # type: ignore[arg-type]
    assert len(said) < 10, said
    left = await talk.pool.fetchrow(
        """
        SELECT count(*) FILTER (WHERE left_seq IS NOT NULL AND user_id = 'alice') AS gone,
               count(*) FILTER (WHERE role = 'owner' AND user_id = 'carol') AS followed,
               count(*) FILTER (WHERE role = 'owner') AS owners FROM members
        """
    )
    assert left is not None
    assert tuple(left) == (3002, 3000, 3000)
    assert await talk.pool.fetchval("SELECT min(member_count) FROM conversations WHERE kind = 'group'") == 2
    closed = await talk.pool.fetch("SELECT id, member_count FROM conversations WHERE closed_at IS NOT NULL")
    assert [tuple(row) for row in closed] == [(id_, 1) for id_ in pairs]
    assert [(one.what, one.user_ids) for one in told if one.conversation_id == pairs[0]] == [
        ("left", ["alice"]),
        ("closed", ()),
    ]
    assert [(one.what, one.user_ids) for one in told[-2:]] == [("left", ["alice"]), ("role", ["carol"])]
