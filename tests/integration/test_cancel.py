"""Cancel: what nobody has claimed is given up, and a claim and a cancel never both win."""

import asyncio
from datetime import timedelta

import pytest
from tests.integration.rows import LANE, PACE, put, put_sending, result, states

from dispatcher.delivery import schedule
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, NotFoundError
from dispatcher.messages.cancel import cancel
from dispatcher.messages.claim import claim
from dispatcher.messages.release import release
from dispatcher.messages.settle import settle
from dispatcher.messages.state import State


async def test_a_pending_message_is_cancelled_once_and_for_good(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    due, later = (await put(pool, 1))[0], (await put(pool, 1, due_in=timedelta(days=1)))[0]
    before = await pool.fetchrow("SELECT * FROM messages WHERE id = $1", due)
    assert before is not None
    for id_ in (due, later, due):
        row = await cancel(pool, id_)
        assert (row["id"], row["state"]) == (id_, "cancelled")
    after = await pool.fetchrow("SELECT * FROM messages WHERE id = $1", due)
    assert after is not None
    changed = {name for name in dict(before) if before[name] != after[name]}
    assert changed == {"state", "held_at"}
    assert await claim(pool, LANE, limit=5, lease_seconds=30) == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.SENT, "has been sent"),
        (State.FAILED, "has failed"),
        (State.UNCERTAIN, "is uncertain"),
        (State.SENDING, "is being sent at this moment"),
    ],
)
async def test_what_is_not_pending_stays_as_it_is(pool: Pool, state: State, said: str) -> None:
    if state is State.SENDING:
        (id_,) = await put_sending(pool, 1, lease=timedelta(seconds=30))
    else:
        (id_,) = await put(pool, 1)
        await pool.execute(
            "UPDATE messages SET state = $1, sent_status = $1 = 'sent', sent_at = CASE $1 WHEN 'sent' THEN now() END",
            str(state),
        )
    before = await pool.fetchrow("SELECT * FROM messages")
    with pytest.raises(ConflictError, match=f"message {id_} {said}; only a message that is pending"):
        await cancel(pool, id_)
    assert await pool.fetchrow("SELECT * FROM messages") == before


async def test_an_unknown_message(pool: Pool) -> None:
    with pytest.raises(NotFoundError, match="no message 7"):
        await cancel(pool, 7)


async def test_a_claim_and_a_cancel_never_both_win(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    wins = {"cancelled": 0, "claimed": 0}

    async def try_cancel(id_: int) -> int | None:
        try:
            await cancel(pool, id_)
        except ConflictError:
            return None
        return id_

    for round_ in range(40):
        ids = await put(pool, 6)
        order = ids if round_ % 2 else ids[::-1]
        cancelled, first, second = await asyncio.gather(
            asyncio.gather(*(try_cancel(id_) for id_ in order)),
            claim(pool, LANE, limit=3, lease_seconds=30),
            claim(pool, LANE, limit=3, lease_seconds=30),
        )
        lost = {id_ for id_ in cancelled if id_ is not None}
        claimed = {message.id for message in [*first, *second]}
        assert lost.isdisjoint(claimed)
        rest = {message.id for message in await claim(pool, LANE, limit=9, lease_seconds=30)}
        assert lost | claimed | rest == set(ids)
        assert not rest, "every cancel was answered, with success or because of a claim"
        wins["cancelled"] += len(lost)
        wins["claimed"] += len(claimed)
        states_now = {row["id"]: row["state"] for row in await pool.fetch("SELECT id, state FROM messages")}
        assert {states_now[id_] for id_ in lost} <= {"cancelled"}
        assert {states_now[id_] for id_ in claimed} <= {"sending"}
    assert all(wins.values()), wins


async def test_a_cancel_waits_for_the_claim_that_holds_the_row(pool: Pool) -> None:
    (id_,) = await put(pool, 1)
    async with pool.acquire() as claimer, claimer.transaction():
        await claimer.execute("DELETE FROM messages_pending WHERE id = $1", id_)
        waiting = asyncio.create_task(cancel(pool, id_))
        await _until_somebody_waits(pool)
        assert not waiting.done()
        await claimer.execute(
            "INSERT INTO messages_sending (id, recipient_phone, content, state, lease_id, leased_until) "
            "VALUES ($1, 'a', 'b', 'sending', gen_random_uuid(), now())",
            id_,
        )
    with pytest.raises(ConflictError, match="is being sent"):
        await waiting


async def test_a_message_that_came_back_while_it_was_looked_for_is_cancelled(pool: Pool) -> None:
    """As a claim that ended in a retry before the cancel could look again."""
    (id_,) = await put(pool, 1)
    async with pool.acquire() as other, other.transaction():
        await other.execute("DELETE FROM messages_pending WHERE id = $1", id_)
        waiting = asyncio.create_task(cancel(pool, id_))
        await _until_somebody_waits(pool)
        await other.execute(
            "INSERT INTO messages_pending (id, recipient_phone, content) VALUES ($1, 'a', 'b')", id_
        )
    assert (await waiting)["state"] == "cancelled"
    assert await states(pool) == {"cancelled": 1}


async def test_what_is_released_or_to_be_retried_can_be_cancelled(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, 2)
    given_back, again = await claim(pool, LANE, limit=2, lease_seconds=30)
    await release(pool, [given_back])
    await settle(pool, [result(again, State.PENDING)], replica="r")
    for message in (given_back, again):
        await cancel(pool, message.id)
    assert await states(pool) == {"cancelled": 2}
    assert await settle(pool, [result(given_back)], replica="late") == set()


async def _until_somebody_waits(pool: Pool) -> None:
    async with asyncio.timeout(10):
        while not await pool.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE NOT l.granted AND a.datname = current_database())"
        ):
            pass  # the query itself lets the others run
