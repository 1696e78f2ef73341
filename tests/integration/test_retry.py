"""Retry and resolve: what a person decides about messages that have ended."""

import asyncio
from datetime import timedelta

import pytest
from tests.integration.rows import LANE, PACE, put, put_sending, result, states

from dispatcher.delivery import schedule
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, NotFoundError
from dispatcher.messages.claim import ClaimedMessage, claim
from dispatcher.messages.look import MAX_ATTEMPTS, look_closely
from dispatcher.messages.release import release
from dispatcher.messages.rescue import expired, rescue
from dispatcher.messages.resolve import resolve
from dispatcher.messages.retry import RETRIABLE, retry
from dispatcher.messages.settle import settle
from dispatcher.messages.state import State

OTHERS = [state for state in State if state not in RETRIABLE]


async def put_as(pool: Pool, state: State, *, attempts: int = 3) -> int:
    if state is State.SENDING:
        return (await put_sending(pool, 1, lease=timedelta(seconds=30), attempt=attempts))[0]
    id_: int = await pool.fetchval(
        """
        INSERT INTO messages (recipient_phone, content, state, sent_status, sent_at, held_at, attempt_count,
                              last_error, priority, deliver_at)
        VALUES ('+90555', 'hello', $1, $1 = 'sent', CASE $1 WHEN 'sent' THEN now() END,
                CASE WHEN $1 NOT IN ('pending', 'sent') THEN now() END, $2, 'no answer', 0, now() + interval '1 day')
        RETURNING id
        """,
        str(state),
        attempts,
    )
    return id_


async def claim_one(pool: Pool) -> ClaimedMessage:
    (message,) = await claim(pool, LANE, limit=5, lease_seconds=30)
    return message


@pytest.mark.parametrize("state", RETRIABLE)
async def test_a_retry_is_due_now_and_has_all_attempts_before_it(pool: Pool, state: State) -> None:
    await schedule.create(pool, LANE, PACE, None)
    id_ = await put_as(pool, state)
    row = await retry(pool, id_)
    assert (row["id"], row["state"], row["attempt_count"], row["last_error"]) == (
        id_,
        "pending",
        3,
        "no answer",
    )
    first = await claim_one(pool)
    assert (first.id, first.attempt, first.spent) == (id_, 4, 1)
    await settle(pool, [result(first, State.PENDING, retry_in=timedelta(0))], replica="r")
    second = await claim_one(pool)
    assert (second.attempt, second.spent) == (5, 2)
    await release(pool, [second])
    second = await claim_one(pool)
    assert (second.attempt, second.spent) == (5, 2)
    await pool.execute("UPDATE messages SET leased_until = now() - interval '1 s'")
    leases = (await expired(pool, limit=5)).leases
    assert [lease.spent for lease in leases] == [2]
    await rescue(pool, leases, [State.PENDING], {}, replica="r")
    third = await claim_one(pool)
    assert (third.attempt, third.spent) == (6, 3)
    await settle(pool, [result(third, State.FAILED)], replica="r")
    assert (await retry(pool, id_))["attempt_count"] == 6
    last = await claim_one(pool)
    assert (last.attempt, last.spent) == (7, 1)
    await settle(pool, [result(last)], replica="r")
    row, attempts = await look_closely(pool, id_)
    assert (row["state"], row["priority"]) == ("sent", 0)
    assert [attempt["number"] for attempt in attempts] == [4, 5, 6, 7]


@pytest.mark.parametrize("state", OTHERS)
async def test_what_has_not_ended_or_is_sent_is_not_retried(pool: Pool, state: State) -> None:
    id_ = await put_as(pool, state)
    before = await pool.fetchrow("SELECT * FROM messages")
    with pytest.raises(ConflictError, match="only a message that is failed, cancelled or uncertain"):
        await retry(pool, id_)
    assert await pool.fetchrow("SELECT * FROM messages") == before


async def test_of_retries_at_the_same_time_one_wins(pool: Pool) -> None:
    for _ in range(10):
        id_ = await put_as(pool, State.FAILED)
        answers = await asyncio.gather(*(retry(pool, id_) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(answer, ConflictError) for answer in answers) == 4
        assert await pool.fetchval("SELECT count(*) FROM messages WHERE id = $1", id_) == 1


async def test_resolved_as_sent_it_is_sent_as_of_now(pool: Pool) -> None:
    id_ = await put_as(pool, State.UNCERTAIN)
    before = await pool.fetchval("SELECT clock_timestamp()")
    row = await resolve(pool, id_, "sent")
    after = await pool.fetchval("SELECT clock_timestamp()")
    assert (row["state"], row["sent_status"], row["last_error"]) == ("sent", True, None)
    assert before <= row["sent_at"] <= after
    assert await pool.fetchval("SELECT held_at FROM messages") is None


async def test_resolved_as_not_arrived_it_is_sent_again(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    id_ = await put_as(pool, State.UNCERTAIN)
    assert (await resolve(pool, id_, "resend"))["state"] == "pending"
    message = await claim_one(pool)
    assert (message.id, message.attempt, message.spent) == (id_, 4, 1)


@pytest.mark.parametrize("verdict", ["sent", "resend"])
@pytest.mark.parametrize("state", [state for state in State if state is not State.UNCERTAIN])
async def test_only_the_uncertain_is_resolved(pool: Pool, state: State, verdict: str) -> None:
    id_ = await put_as(pool, state)
    before = await pool.fetchrow("SELECT * FROM messages")
    with pytest.raises(ConflictError, match="only a message that is uncertain can be resolved"):
        await resolve(pool, id_, "sent" if verdict == "sent" else "resend")
    assert await pool.fetchrow("SELECT * FROM messages") == before


async def test_two_verdicts_at_the_same_time_are_one(pool: Pool) -> None:
    for _ in range(10):
        id_ = await put_as(pool, State.UNCERTAIN)
        answers = await asyncio.gather(
            resolve(pool, id_, "sent"), resolve(pool, id_, "resend"), return_exceptions=True
        )
        assert sum(isinstance(answer, ConflictError) for answer in answers) == 1
        assert await pool.fetchval("SELECT count(*) FROM messages WHERE id = $1", id_) == 1


async def test_a_verdict_makes_the_day_that_is_missing(pool: Pool) -> None:
    id_ = await put_as(pool, State.UNCERTAIN)
    for row in await pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'messages_sent'::regclass"
    ):
        await pool.execute(f"DROP TABLE {row['name']}")
    assert (await resolve(pool, id_, "sent"))["state"] == "sent"
    assert await states(pool) == {"sent": 1}


async def test_a_message_is_found_in_every_state(pool: Pool) -> None:
    for state in State:
        id_ = await put_as(pool, state)
        row, attempts = await look_closely(pool, id_)
        assert (row["id"], row["state"], list(attempts)) == (id_, str(state), [])
    with pytest.raises(NotFoundError):
        await look_closely(pool, 2**62)


async def test_of_very_many_attempts_the_latest_are_shown(pool: Pool) -> None:
    (id_,) = await put(pool, 1)
    await pool.execute(
        "INSERT INTO attempts (message_id, number, replica, started_at, duration_ms, outcome) "
        "SELECT $1, n, 'r', now(), 1, 'retry' FROM generate_series(1, $2::int) n",
        id_,
        MAX_ATTEMPTS + 5,
    )
    _, attempts = await look_closely(pool, id_)
    assert [attempt["number"] for attempt in attempts] == list(range(6, MAX_ATTEMPTS + 6))
