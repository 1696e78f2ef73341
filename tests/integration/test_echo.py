"""Texts for the console over HTTP: the rows they become, what is refused, repeats, and whom a commit wakes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import httpx2
import pytest
from tests.integration.ingesting import closed_gate, running_api, stored, waiting_commits
from tests.integration.rows import until_true

from dispatcher.kernel.clock import pause, utc_now
from dispatcher.kernel.db import Pool
from dispatcher.messages.arrived import Arrived
from dispatcher.messages.moment import GRACE

PATH = "/echoAtTime"
PROBLEM = "application/problem+json"


@pytest.fixture
def told() -> list[datetime]:
    """What the console's engine would have been told."""
    return []


@pytest.fixture
async def api(pool: Pool, told: list[datetime]) -> AsyncIterator[httpx2.AsyncClient]:
    arrived: Arrived = {"console": told.append}
    async with running_api(pool, arrived) as client:
        yield client


def later(seconds: float = 3600) -> datetime:
    return utc_now().replace(microsecond=0) + timedelta(seconds=seconds)


async def test_what_is_said_becomes_a_row(api: httpx2.AsyncClient, pool: Pool, told: list[datetime]) -> None:
    at = later()
    ways = (
        {"json": {"time": at.isoformat(), "message": "One\n\ttwo ü"}},
        {"json": {"time": int(at.timestamp()), "message": " "}},
        {"json": {"time": int(at.timestamp()) * 1000, "message": "x" * 4096}},
        {"params": {"time": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "message": "One & two + ü"}},
        {"params": {"time": str(int(at.timestamp())), "message": "\N{PARTY POPPER}" * 4096}},
    )
    for way in ways:
        answer = await api.post(PATH, **way)
        said = (way.get("json") or way["params"])["message"]
        row = await pool.fetchrow("SELECT * FROM messages ORDER BY id DESC LIMIT 1")
        assert row is not None
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/messages/{row['id']}"
        assert answer.json() == {
            "id": row["id"],
            "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "message": said,
            "lane": "console",
            "status": "pending",
        }
        assert (row["lane"], row["recipient_phone"], row["state"]) == ("console", "console", "pending")
        assert (row["content"], row["deliver_at"], row["attempt_count"]) == (said, at, 0)
    assert told == [at] * len(ways)


async def test_a_time_that_is_just_past_is_now(
    api: httpx2.AsyncClient, pool: Pool, told: list[datetime]
) -> None:
    just_past = utc_now() - GRACE / 2
    answer = await api.post(PATH, json={"time": just_past.isoformat(), "message": "Now"})
    assert answer.status_code == 202
    assert datetime.fromisoformat(answer.json()["time"]) == just_past
    due = await pool.fetchval("SELECT deliver_at FROM messages WHERE deliver_at = created_at")
    assert told == [due]


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"json": {"time": "2020-01-01T00:00:00Z", "message": "x"}}, 422, '"2020-01-01T00:00:00Z" is in the past'),
        ({"json": {"time": "2999-01-01T00:00:00Z", "message": "x"}}, 422, "more than 10 years ahead"),
        ({"json": {"time": "2030-01-01T00:00:00", "message": "x"}}, 422, "has no zone"),
        ({"json": {"time": "soon", "message": "x"}}, 422, "is not a time"),
        ({"json": {"time": None, "message": "x"}}, 422, "time: null is not a time"),
        ({"json": {"time": 10, "message": "x"}}, 422, "neither seconds since 1970"),
        ({"json": {"message": "x"}}, 422, "time: field required"),
        ({"json": {"time": 1924354800}}, 422, "message: field required"),
        ({"json": {"time": 1924354800, "message": ""}}, 422, "at least 1 character"),
        ({"json": {"time": 1924354800, "message": "x" * 4097}}, 422, "at most 4096 characters"),
        ({"json": {"time": 1924354800, "message": "a\0b"}}, 422, "message: a NUL character cannot be stored"),
        ({"json": {"time": 1924354800, "message": 5}}, 422, "message: input should be a valid string"),
        ({"json": {"time": 1924354800, "message": "x", "lane": "y"}}, 422, "lane: is not known; take it out"),
        ({"json": []}, 422, "is not an object with time and message"),
        ({"json": {"time": 1924354800, "message": "x"}, "params": {"time": 1}}, 422, "not in both"),
        ({}, 422, "say time and message: as JSON, e.g."),
        ({"params": {"time": 1924354800}}, 422, "message: field required"),
        ({"params": {"time": 1924354800, "message": "a\0b"}}, 422, "NUL"),
        ({"params": {"time": 1924354800, "message": "x", "at": "y"}}, 422, "at: is not known"),
        ({"params": [("time", 1924354800), ("message", "x"), ("message", "y")]}, 422, "says something twice"),
        ({"params": {"time": "2030-12-24T18:00:00 03:00", "message": "x"}}, 422, "write %2B"),
        ({"data": {"time": 1924354800, "message": "x"}}, 415, "or say time and message in the query"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "is not JSON"),
        ({"content": b" " * 65_537, "headers": {"content-type": "application/json"}}, 413, "65536 bytes"),
        ({"json": {"time": 1, "message": "x"}, "headers": {"idempotency-key": "\t"}}, 422, "Idempotency-Key"),
    ],
)  # fmt: skip
async def test_problems(
    api: httpx2.AsyncClient,
    pool: Pool,
    told: list[datetime],
    *,
    given: dict[str, object],
    status: int,
    said: str,
) -> None:
    answer = await api.post(PATH, **given)  # type: ignore[arg-type]  # each way has its own
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert said in answer.json()["detail"]
    assert (await stored(pool), told) == (0, [])


async def test_a_query_that_is_not_utf_8(api: httpx2.AsyncClient, pool: Pool) -> None:
    answer = await api.post(f"{PATH}?time=1924354800&message=g%FCn")
    assert (answer.status_code, "query: is not UTF-8" in answer.text) == (422, True)
    assert await stored(pool) == 0


async def test_the_answer_and_the_engine_come_after_the_commit(
    api: httpx2.AsyncClient, pool: Pool, told: list[datetime]
) -> None:
    at = later()
    async with closed_gate(pool) as holder:
        plain = asyncio.create_task(api.post(PATH, json={"time": at.isoformat(), "message": "1"}))
        keyed = asyncio.create_task(
            api.post(PATH, json={"time": at.isoformat(), "message": "2"}, headers={"idempotency-key": "k"})
        )

        async def both_wait() -> bool:
            return await waiting_commits(pool) == 2

        await until_true(both_wait)
        assert not plain.done()
        assert not keyed.done()
        assert told == []
        await holder.execute("SELECT pg_advisory_unlock_all()")
        assert [answer.status_code for answer in await asyncio.gather(plain, keyed)] == [202, 202]
    assert told == [at, at]


async def test_many_at_a_time_share_transactions_and_wake_once_each(
    api: httpx2.AsyncClient, pool: Pool, told: list[datetime]
) -> None:
    at = later()
    answers = await asyncio.gather(
        *(
            api.post(PATH, json={"time": (at + timedelta(seconds=n)).isoformat(), "message": f"{n}"})
            for n in range(200)
        )
    )
    assert {answer.status_code for answer in answers} == {202}
    rows = await pool.fetch("SELECT id, content, deliver_at, xmin::text AS txn FROM messages")
    assert {row["id"]: row["content"] for row in rows} == {
        answer.json()["id"]: answer.json()["message"] for answer in answers
    }
    earliest: dict[str, datetime] = {}
    for row in rows:
        earliest[row["txn"]] = min(row["deliver_at"], earliest.get(row["txn"], row["deliver_at"]))
    assert sorted(told) == sorted(earliest.values())
    assert len(told) < 30


async def test_another_lane_wakes_nobody(api: httpx2.AsyncClient, pool: Pool, told: list[datetime]) -> None:
    for body in ({"to": "+90", "content": "Hi"}, [{"to": "+90", "content": "Hi"}] * 3):
        assert (await api.post("/messages", json=body)).status_code == 201
    assert (await stored(pool), told) == (4, [])


async def test_a_repeat_gets_the_first_answer_also_when_its_time_has_passed(
    api: httpx2.AsyncClient, pool: Pool, told: list[datetime]
) -> None:
    soon = utc_now() + timedelta(milliseconds=200)
    request = {"json": {"time": soon.isoformat(), "message": "Hi"}, "headers": {"idempotency-key": "k"}}
    first = await api.post(PATH, **request)  # type: ignore[arg-type]
    assert (first.status_code, first.headers.get("idempotent-replayed")) == (202, None)
    while utc_now() <= soon + GRACE:
        await pause(0.05)
    again = await api.post(PATH, **request)  # type: ignore[arg-type]
    assert (again.status_code, again.content, again.headers["location"]) == (
        202,
        first.content,
        first.headers["location"],
    )
    assert again.headers["idempotent-replayed"] == "true"
    other = await api.post(PATH, json={"time": soon.isoformat(), "message": "Ho"}, headers=request["headers"])
    assert other.status_code == 409
    new = await api.post(PATH, json=request["json"], headers={"idempotency-key": "another"})
    assert (new.status_code, "is in the past" in new.json()["detail"]) == (422, True)
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 1
    assert (await stored(pool), len(told)) == (1, 1)


async def test_a_key_belongs_to_the_whole_request(api: httpx2.AsyncClient, pool: Pool) -> None:
    key = {"idempotency-key": "k"}
    query = {"time": str(int(later().timestamp())), "message": "Hi"}
    first = await api.post(PATH, params=query, headers=key)
    assert (await api.post(PATH, params=query, headers=key)).content == first.content
    assert (await api.post(PATH, params=query | {"message": "Ho"}, headers=key)).status_code == 409
    assert (await api.post(PATH, json=query, headers=key)).status_code == 409
    assert (await api.post("/messages", json={"to": "+9", "content": "Hi"}, headers=key)).status_code == 409
    assert await stored(pool) == 1
