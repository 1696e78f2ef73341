"""Several who would end one lease at the same moment, or take one message: exactly one does."""

import asyncio

from tests.integration.rows import LANE, PACE, put, result, states

from dispatcher.delivery import schedule
from dispatcher.kernel.db import Pool
from dispatcher.messages.claim import ClaimedMessage, claim
from dispatcher.messages.release import release
from dispatcher.messages.rescue import ExpiredLease, expired, rescue
from dispatcher.messages.settle import settle
from dispatcher.messages.state import State

MANY = 120


async def test_of_settle_rescue_and_release_one_ends_the_lease(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    ids = await put(pool, MANY)
    messages = {message.id: message for message in await claim(pool, LANE, limit=MANY, lease_seconds=30)}
    await pool.execute("UPDATE messages SET leased_until = now() - interval '1 s'")
    leases = (await expired(pool, limit=MANY)).leases
    assert sorted(messages) == ids

    async def all_at_once(lease: ExpiredLease) -> State:
        message = messages[lease.message_id]
        released, rescued, settled = await asyncio.gather(
            release(pool, [message]),
            rescue(pool, [lease], [State.UNCERTAIN], {}, replica="rescuer"),
            settle(pool, [result(message)], replica="sender"),
        )
        assert released + len(rescued) + len(settled) == 1
        return State.PENDING if released else State.UNCERTAIN if rescued else State.SENT

    ended = dict(
        zip(
            [lease.message_id for lease in leases],
            await asyncio.gather(*map(all_at_once, leases)),
            strict=True,
        )
    )
    rows = await pool.fetch("SELECT id, state, attempt_count FROM messages ORDER BY id")
    assert [(row["id"], row["state"]) for row in rows] == sorted(ended.items())
    assert all(row["attempt_count"] == (0 if row["state"] == "pending" else 1) for row in rows)
    made = {row["message_id"]: row["outcome"] for row in await pool.fetch("SELECT * FROM attempts")}
    outcomes = {State.SENT: "delivered", State.UNCERTAIN: "interrupted"}
    assert made == {id_: outcomes[state] for id_, state in ended.items() if state is not State.PENDING}


async def test_of_a_claim_and_a_cancel_one_gets_the_message(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    ids = await put(pool, MANY)

    async def cancel(message_id: int) -> int:
        cancelled = await pool.fetch(
            "WITH mine AS (DELETE FROM messages_pending WHERE id = $1 RETURNING *) "
            "INSERT INTO messages (id, lane, recipient_phone, content, state, deliver_at, held_at) "
            "SELECT id, lane, recipient_phone, content, 'cancelled', deliver_at, now() FROM mine RETURNING id",
            message_id,
        )
        return len(cancelled)

    async def take() -> list[ClaimedMessage]:
        return await claim(pool, LANE, limit=5, lease_seconds=30)

    claims, cancelled = await asyncio.gather(
        asyncio.gather(*(take() for _ in range(MANY // 10))),
        asyncio.gather(*(cancel(id_) for id_ in ids[::2])),
    )
    claimed = [message.id for each in claims for message in each]
    assert len(claimed) == len(set(claimed))
    there = await states(pool)
    assert (there.get("sending", 0), there.get("cancelled", 0)) == (len(claimed), sum(cancelled))
    rows = await pool.fetch("SELECT id FROM messages ORDER BY id")
    assert [row["id"] for row in rows] == ids
