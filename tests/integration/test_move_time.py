"""Moving in time: what nobody has claimed gets another time, and nothing else of it changes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import httpx2
import pytest
from tests.integration.ingesting import running_api
from tests.integration.rows import LANE, PACE, put, put_sending, states

from dispatcher.delivery import schedule
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError
from dispatcher.messages import move_all
from dispatcher.messages.arrived import Arrived
from dispatcher.messages.claim import claim
from dispatcher.messages.move_time import move_time

DAY = timedelta(days=1)


@pytest.fixture
def told() -> list[datetime]:
    return []


@pytest.fixture
async def api(pool: Pool, told: list[datetime]) -> AsyncIterator[httpx2.AsyncClient]:
    arrived: Arrived = {"console": told.append}
    async with running_api(pool, arrived) as client:
        yield client


@pytest.mark.parametrize("lane", ["console", "webhook"])
async def test_one_is_moved_and_changes_in_nothing_else(
    api: httpx2.AsyncClient, pool: Pool, told: list[datetime], lane: str
) -> None:
    (id_,) = await put(pool, 1, due_in=DAY)
    await pool.execute("UPDATE messages SET lane = $1, last_error = '503', attempt_count = 2", lane)
    before = await pool.fetchrow("SELECT * FROM messages")
    at = utc_now().replace(microsecond=0) + timedelta(hours=1)
    for written in (at.isoformat(), int(at.timestamp())):
        answer = await api.patch(f"/messages/{id_}", json={"deliver_at": written})
        assert (answer.status_code, answer.json()["status"]) == (200, "pending")
        assert datetime.fromisoformat(answer.json()["deliver_at"]) == at
    after = await pool.fetchrow("SELECT * FROM messages")
    assert before is not None
    assert after is not None
    assert {name for name in dict(before) if before[name] != after[name]} == {"deliver_at"}
    assert told == ([at, at] if lane == "console" else [])
    now = await api.patch(f"/messages/{id_}", json={"deliver_at": utc_now().isoformat()})
    assert now.status_code == 200
    assert await pool.fetchval("SELECT deliver_at <= now() FROM messages")


@pytest.mark.parametrize(
    ("deliver_at", "said"),
    [
        ("2020-01-01T00:00:00Z", "is in the past"),
        ("2999-01-01T00:00:00Z", "10 years"),
        ("2030-01-01", "is not a time"),
        (5, "neither seconds"),
    ],
)
async def test_a_bad_time_moves_nothing(
    api: httpx2.AsyncClient, pool: Pool, deliver_at: object, said: str
) -> None:
    (id_,) = await put(pool, 1, due_in=DAY)
    before = await pool.fetchrow("SELECT * FROM messages")
    for answer in (
        await api.patch(f"/messages/{id_}", json={"deliver_at": deliver_at}),
        await api.post("/messages/move?lane=webhook", json={"deliver_at": deliver_at}),
    ):
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("deliver_at: ")
        assert said in answer.json()["detail"]
    assert await pool.fetchrow("SELECT * FROM messages") == before


async def test_what_is_not_pending_stays_where_it_is(api: httpx2.AsyncClient, pool: Pool) -> None:
    at = {"deliver_at": (utc_now() + DAY).isoformat()}
    missing = await api.patch("/messages/999", json=at)
    assert (missing.status_code, "no message 999" in missing.text) == (404, True)
    (id_,) = await put_sending(pool, 1, lease=DAY)
    sending = await api.patch(f"/messages/{id_}", json=at)
    assert sending.status_code == 409
    assert sending.json()["detail"] == (
        f"message {id_} is being sent at this moment; only a message that is pending can be moved to another time"
    )
    assert (await api.post("/messages/move", json=at)).status_code == 422
    assert (await api.post("/messages/move?lane=webhook", json=at)).json() == {"changed": 0, "more": False}


async def test_all_that_match_are_moved_once(
    api: httpx2.AsyncClient, pool: Pool, told: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_all, "BATCH", 7)
    await put(pool, 30)
    await pool.execute("UPDATE messages SET lane = 'console', priority = id % 3 WHERE id % 2 = 0")
    rest = await pool.fetch("SELECT * FROM messages WHERE lane = 'webhook' ORDER BY id")
    for hours in (2, 1):
        at = utc_now().replace(microsecond=0) + timedelta(hours=hours)
        for changed in (15, 0):
            answer = await api.post("/messages/move?lane=console", json={"deliver_at": at.isoformat()})
            assert answer.json() == {"changed": changed, "more": False}
        moved = await pool.fetch("SELECT DISTINCT deliver_at FROM messages WHERE lane = 'console'")
        assert [row["deliver_at"] for row in moved] == [at]
        assert told.pop() == at
        assert not told
    now = {"deliver_at": utc_now().isoformat()}
    assert (await api.post("/messages/move?lane=console", json=now)).json()["changed"] == 15
    assert await pool.fetch("SELECT * FROM messages WHERE lane = 'webhook' ORDER BY id") == rest


async def test_a_claim_and_a_move_never_both_win(pool: Pool) -> None:
    await schedule.create(pool, LANE, PACE, None)
    wins = {"moved": 0, "claimed": 0}

    async def try_move(id_: int) -> int | None:
        try:
            await move_time(pool, id_, utc_now() + DAY, arrived={})
        except ConflictError:
            return None
        return id_

    for round_ in range(20):
        ids = await put(pool, 6)
        order = ids if round_ % 2 else ids[::-1]
        moved, first, second = await asyncio.gather(
            asyncio.gather(*(try_move(id_) for id_ in order)),
            claim(pool, LANE, limit=3, lease_seconds=30),
            claim(pool, LANE, limit=3, lease_seconds=30),
        )
        kept = {id_ for id_ in moved if id_ is not None}
        claimed = {message.id for message in [*first, *second]}
        assert kept.isdisjoint(claimed)
        assert kept | claimed == set(ids)
        wins["moved"] += len(kept)
        wins["claimed"] += len(claimed)
    assert await states(pool) == {"pending": wins["moved"], "sending": wins["claimed"]}
    assert all(wins.values()), wins
