"""Settle and release: what an attempt leaves behind, and that only the holder of the lease can say so."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.integration.rows import LANE, PACE, put, result, states

from dispatcher.delivery import schedule
from dispatcher.kernel.db import Pool
from dispatcher.messages.claim import ClaimedMessage, claim
from dispatcher.messages.release import release
from dispatcher.messages.settle import settle
from dispatcher.messages.state import State


async def claimed(pool: Pool, count: int) -> list[ClaimedMessage]:
    await schedule.create(pool, LANE, PACE, None)
    await put(pool, count)
    return await claim(pool, LANE, limit=count, lease_seconds=30)


async def test_each_end_of_an_attempt(pool: Pool) -> None:
    sent, again, failed = await claimed(pool, 3)
    results = [
        result(sent, status=202, excerpt="ok"),
        result(again, State.PENDING, status=503, error="busy"),
        result(failed, State.FAILED, status=404, error="not found"),
    ]
    assert await settle(pool, results, replica="r") == {sent.id, again.id, failed.id}
    rows = {row["id"]: row for row in await pool.fetch("SELECT *, deliver_at - now() AS wait FROM messages")}
    row = rows[sent.id]
    assert (row["state"], row["sent_status"], row["receipt_id"]) == ("sent", True, f"r-{sent.id}")
    assert row["sent_at"].timestamp() == pytest.approx(results[0].sent_at, rel=0, abs=1e-6)
    row = rows[again.id]
    assert (row["state"], row["sent_status"], row["last_error"]) == ("pending", False, "busy")
    assert timedelta(seconds=55) < row["wait"] <= timedelta(seconds=60)
    row = rows[failed.id]
    assert (row["state"], row["last_error"], row["deliver_at"]) == ("failed", "not found", failed.deliver_at)
    assert all(row["lease_id"] is None and row["leased_until"] is None for row in rows.values())
    attempts = await pool.fetch("SELECT * FROM attempts ORDER BY message_id")
    assert [(a["message_id"], a["number"], a["outcome"], a["status"], a["tick_no"]) for a in attempts] == [
        (sent.id, 1, "delivered", 202, 1),
        (again.id, 1, "retry", 503, 1),
        (failed.id, 1, "rejected", 404, 1),
    ]
    assert (attempts[0]["replica"], attempts[0]["response_excerpt"]) == ("r", "ok")
    assert (attempts[1]["error"], attempts[1]["duration_ms"]) == ("busy", 5)
    assert attempts[0]["started_at"].timestamp() == pytest.approx(results[0].started_at, rel=0, abs=1e-6)


async def test_a_lost_lease_settles_and_records_nothing(pool: Pool) -> None:
    mine, other = await claimed(pool, 2)
    before = await pool.fetchrow("SELECT * FROM messages WHERE id = $1", other.id)
    late = result(other, lease_id=uuid4())
    assert await settle(pool, [result(mine), late], replica="r") == {mine.id}
    assert await pool.fetchrow("SELECT * FROM messages WHERE id = $1", other.id) == before
    assert await pool.fetchval("SELECT count(*) FROM attempts WHERE message_id = $1", other.id) == 0


async def test_a_late_result_of_an_earlier_attempt_does_not_settle_the_next(pool: Pool) -> None:
    (first,) = await claimed(pool, 1)
    await release(pool, [first])
    (second,) = await claim(pool, LANE, limit=1, lease_seconds=30)
    assert await settle(pool, [result(first)], replica="late") == set()
    assert await states(pool) == {"sending": 1}
    assert await settle(pool, [result(second)], replica="r") == {second.id}
    assert await settle(pool, [result(second, State.FAILED)], replica="r") == set()
    assert await states(pool) == {"sent": 1}


async def test_a_retry_is_claimed_again_with_the_next_number(pool: Pool) -> None:
    (message,) = await claimed(pool, 1)
    await settle(pool, [result(message, State.PENDING, retry_in=timedelta(0))], replica="r")
    (again,) = await claim(pool, LANE, limit=1, lease_seconds=30)
    assert (again.id, again.attempt) == (message.id, 2)
    assert again.deliver_at > message.deliver_at
    await settle(pool, [result(again)], replica="r")
    numbers = await pool.fetch("SELECT number, outcome FROM attempts ORDER BY number")
    assert [tuple(row) for row in numbers] == [(1, "retry"), (2, "delivered")]
    assert await pool.fetchval("SELECT last_error FROM messages") is None


async def test_release_gives_the_attempt_back(pool: Pool) -> None:
    kept, given_back, lost = await claimed(pool, 3)
    assert await release(pool, [given_back, replace(lost, lease=replace(lost.lease, lease_id=uuid4()))]) == 1
    rows = {row["id"]: row for row in await pool.fetch("SELECT * FROM messages")}
    row = rows[given_back.id]
    assert (row["state"], row["attempt_count"], row["lease_id"]) == ("pending", 0, None)
    assert row["deliver_at"] == given_back.deliver_at, "it keeps its place in the line"
    assert [rows[m.id]["state"] for m in (kept, lost)] == ["sending", "sending"]
    assert await pool.fetchval("SELECT count(*) FROM attempts") == 0
    (again,) = await claim(pool, LANE, limit=5, lease_seconds=30)
    assert (again.id, again.attempt) == (given_back.id, 1)


async def test_an_old_entry_under_a_reused_id_stands_in_no_results_way(pool: Pool) -> None:
    (message,) = await claimed(pool, 1)
    await pool.execute(
        "INSERT INTO attempts (message_id, number, replica, started_at, duration_ms, outcome, error) "
        "VALUES ($1, 1, 'long ago', now(), 0, 'retry', 'of another message')",
        message.id,
    )
    assert await settle(pool, [result(message)], replica="r") == {message.id}
    row = await pool.fetchrow(
        "SELECT outcome, error FROM attempts WHERE message_id = $1 AND replica = 'r'", message.id
    )
    assert tuple(row or ()) == ("delivered", None)
