"""Cancel, retry and resolve all that match: these and no others, in small transactions, up to a bound."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.rows import LANE, PACE, put, states

from dispatcher.delivery import schedule
from dispatcher.kernel.db import Pool
from dispatcher.messages import move_all
from dispatcher.messages.cancel import cancel_all
from dispatcher.messages.claim import claim
from dispatcher.messages.matching import Filter
from dispatcher.messages.resolve import resolve_all
from dispatcher.messages.retry import retry_all
from dispatcher.messages.state import State

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FILTERS = [
    (Filter(LANE), {"noon", "before", "of another"}),
    (Filter(LANE, recipient="+1"), {"noon", "before"}),
    (Filter(LANE, since=NOON), {"noon", "of another"}),
    (Filter(LANE, until=NOON), {"before"}),
    (Filter(LANE, recipient="+1", since=NOON - HOUR, until=NOON), {"before"}),
    (Filter(LANE, recipient="+2", until=NOON), set()),
    (Filter("console"), {"of another lane"}),
    (Filter("nowhere"), set()),
]


async def put_some(pool: Pool, state: State) -> None:
    """Of each priority, by lane, recipient and time; and one of every other state that the filters would match."""
    await pool.execute(
        """
        INSERT INTO messages (recipient_phone, content, lane, priority, state, held_at, deliver_at)
        SELECT recipient, name, lane, priority, $1, CASE WHEN $1 <> 'pending' THEN at END, at
        FROM (VALUES ('noon', '+1', 'webhook', $2::timestamptz), ('before', '+1', 'webhook', $2 - interval '1 h'),
                     ('of another', '+2', 'webhook', $2), ('of another lane', '+1', 'console', $2)
             ) rows (name, recipient, lane, at), generate_series(0, 2) priority
        """,
        str(state),
        NOON,
    )


async def names(pool: Pool, state: State) -> set[str]:
    return {
        row["content"]
        for row in await pool.fetch("SELECT content FROM messages WHERE state = $1", str(state))
    }


@pytest.mark.parametrize(("wanted", "chosen"), FILTERS)
async def test_cancel_takes_what_matches(pool: Pool, wanted: Filter, chosen: set[str]) -> None:
    await put_some(pool, State.PENDING)
    done = await cancel_all(pool, wanted)
    assert (done.changed, done.more) == (3 * len(chosen), False)
    assert await names(pool, State.CANCELLED) == chosen
    assert await names(pool, State.PENDING) == {"noon", "before", "of another", "of another lane"} - chosen


@pytest.mark.parametrize(("wanted", "chosen"), FILTERS)
async def test_retry_takes_what_matches(pool: Pool, wanted: Filter, chosen: set[str]) -> None:
    await put_some(pool, State.FAILED)
    await put_some(pool, State.UNCERTAIN)
    done = await retry_all(pool, State.FAILED, wanted)
    assert (done.changed, done.more) == (3 * len(chosen), False)
    assert await names(pool, State.PENDING) == chosen
    assert await pool.fetchval("SELECT count(*) FROM messages WHERE state = 'uncertain'") == 12


@pytest.mark.parametrize(("verdict", "then"), [("sent", State.SENT), ("resend", State.PENDING)])
async def test_resolve_takes_what_is_uncertain(pool: Pool, verdict: str, then: State) -> None:
    await put_some(pool, State.FAILED)
    await put_some(pool, State.UNCERTAIN)
    done = await resolve_all(pool, "sent" if verdict == "sent" else "resend", Filter(LANE, recipient="+1"))
    assert (done.changed, done.more) == (6, False)
    assert await states(pool) == {"failed": 12, "uncertain": 6, str(then): 6}


async def test_it_goes_in_batches_and_says_when_a_bound_ended_it(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_all, "BATCH", 10)
    monkeypatch.setattr(move_all, "AT_MOST", 25)
    ids = await put(pool, 40)
    await pool.execute("UPDATE messages SET priority = id % 3")
    first, second = await cancel_all(pool, Filter(LANE)), await cancel_all(pool, Filter(LANE))
    assert [(first.changed, first.more), (second.changed, second.more)] == [(25, True), (15, False)]
    assert await states(pool) == {"cancelled": len(ids)}
    moments = await pool.fetch("SELECT held_at, count(*) AS n FROM messages GROUP BY held_at")
    assert len(moments) >= 4, "each batch is a transaction of its own"
    assert max(row["n"] for row in moments) <= 10
    monkeypatch.setattr(move_all, "SECONDS", -1.0)
    late = await retry_all(pool, State.CANCELLED, Filter(LANE))
    assert (late.changed, late.more) == (0, True)


async def test_a_thousand_of_the_same_moment_are_all_met(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO messages (recipient_phone, content, state, held_at) "
        "SELECT 'a', 'b', 'failed', now() FROM generate_series(1, 2500)"
    )
    done = await retry_all(pool, State.FAILED, Filter(LANE))
    assert (done.changed, done.more) == (2500, False)
    done = await cancel_all(pool, Filter(LANE, recipient="a"))
    assert (done.changed, done.more) == (2500, False)


async def test_what_somebody_holds_is_passed_over_and_not_waited_for(pool: Pool) -> None:
    first, second = await put(pool, 2)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM messages_pending WHERE id = $1 FOR UPDATE", first)
        async with asyncio.timeout(5):
            assert (await cancel_all(pool, Filter(LANE))).changed == 1
    rows = {row["id"]: row["state"] for row in await pool.fetch("SELECT id, state FROM messages")}
    assert rows == {first: "pending", second: "cancelled"}


async def test_claims_and_a_cancel_of_all_share_the_messages(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_all, "BATCH", 7)
    await schedule.create(pool, LANE, PACE, None)
    ids = await put(pool, 300)

    async def claims() -> set[int]:
        return {m.id for _ in range(20) for m in await claim(pool, LANE, limit=5, lease_seconds=30)}

    done, *claimed = await asyncio.gather(cancel_all(pool, Filter(LANE)), claims(), claims())
    rest = {message.id for message in await claim(pool, LANE, limit=300, lease_seconds=30)}
    cancelled = {row["id"] for row in await pool.fetch("SELECT id FROM messages WHERE state = 'cancelled'")}
    assert len(cancelled) == done.changed > 0
    assert sorted([*cancelled, *claimed[0], *claimed[1], *rest]) == ids
