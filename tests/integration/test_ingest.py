"""Putting messages in over HTTP: batches, per-item results, refusals, and an answer only after the commit."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import orjson
import pytest
from tests.integration.ingesting import closed_gate, running_api, stored, waiting_commits
from tests.integration.rows import until_true

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel import gathering
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool
from dispatcher.messages.ingest_docs import BODY_BYTES
from dispatcher.messages.view import MessageView, message_view

PROBLEM = "application/problem+json"
LINES = {"content-type": "application/x-ndjson"}
REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.content = 'raise' THEN RAISE EXCEPTION 'not this one'; END IF;
    IF NEW.content = 'skip' THEN RETURN NULL; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture
async def api(pool: Pool) -> AsyncIterator[httpx2.AsyncClient]:
    async with running_api(pool) as client:
        yield client


def message(number: int, content: str = "Hi", **more: object) -> dict[str, object]:
    return {"recipient_phone": f"+90{number}", "content": content, **more}


async def test_one_message(api: httpx2.AsyncClient, pool: Pool) -> None:
    due = (utc_now() + timedelta(days=1)).isoformat()
    for given in (message(1), message(2, deliver_at=due, priority="high"), message(3, priority="low")):
        answer = await api.post("/messages", json=given)
        row = await pool.fetchrow("SELECT * FROM messages WHERE id = $1", answer.json()["id"])
        assert row is not None
        assert (answer.status_code, answer.headers["location"]) == (201, f"/messages/{row['id']}")
        assert answer.content == message_view(row).model_dump_json(by_alias=True).encode()
        assert row["recipient_phone"] == given["recipient_phone"]
        assert set(answer.json()) == set(MessageView.model_json_schema(mode="serialization")["properties"])
    rows = await pool.fetch("SELECT priority, deliver_at = created_at AS at_once FROM messages ORDER BY id")
    assert [(row["priority"], row["at_once"]) for row in rows] == [(1, True), (0, False), (2, True)]


async def test_many_at_a_time_share_transactions(api: httpx2.AsyncClient, pool: Pool) -> None:
    answers = await asyncio.gather(*(api.post("/messages", json=message(number)) for number in range(300)))
    assert {answer.status_code for answer in answers} == {201}
    by_id = {answer.json()["id"]: answer.json()["recipient_phone"] for answer in answers}
    rows = await pool.fetch("SELECT id, recipient_phone FROM messages")
    assert {row["id"]: row["recipient_phone"] for row in rows} == by_id
    assert len(by_id) == 300
    transactions = await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM messages")
    assert transactions < 30


async def test_the_answer_comes_after_the_commit(api: httpx2.AsyncClient, pool: Pool) -> None:
    async with closed_gate(pool) as holder:
        request = asyncio.create_task(api.post("/messages", json=message(1)))
        bulk = asyncio.create_task(api.post("/messages", json=[message(2), message(3)]))
        keyed = asyncio.create_task(api.post("/messages", json=message(4), headers={"idempotency-key": "k"}))

        async def all_wait() -> bool:
            return await waiting_commits(pool) == 3

        await until_true(all_wait)
        assert not [task for task in (request, bulk, keyed) if task.done()]
        assert await stored(pool) == 0
        await holder.execute("SELECT pg_advisory_unlock_all()")
        statuses = [answer.status_code for answer in await asyncio.gather(request, bulk, keyed)]
    assert statuses == [201, 201, 201]
    assert await stored(pool) == 4


@pytest.mark.parametrize("key", [{}, {"idempotency-key": "k"}], ids=["no key", "a key"])
@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
async def test_each_of_many_has_a_result(
    api: httpx2.AsyncClient, pool: Pool, key: dict[str, str], *, lines: bool
) -> None:
    await pool.execute(REFUSING)
    given = [message(0), message(1, ""), message(2, "raise"), message(3), message(4, "skip"), {"to": "+905"}]
    body = b"\n".join(map(orjson.dumps, given)) if lines else orjson.dumps(given)
    kind = LINES if lines else {"content-type": "application/json"}
    answer = await api.post("/messages", content=body, headers={**kind, **key})
    assert answer.status_code == 207
    told = answer.json()
    assert (told["accepted"], told["refused"]) == (2, 4)
    rows = await pool.fetch("SELECT id, recipient_phone FROM messages ORDER BY id")
    assert [row["recipient_phone"] for row in rows] == ["+900", "+903"]
    assert told["results"] == [
        {"id": rows[0]["id"]},
        {"error": "content: string should have at least 1 character"},
        {"error": "the database refused it: not this one"},
        {"id": rows[1]["id"]},
        {"error": "the database refused it: a trigger on the table left it out"},
        {"error": "content: field required"},
    ]


async def test_a_message_that_is_refused_takes_no_other_with_it(api: httpx2.AsyncClient, pool: Pool) -> None:
    await pool.execute(REFUSING)
    contents = ["raise" if number % 7 == 0 else "Hi" for number in range(60)]
    keys = [{"idempotency-key": f"k{number}"} if number % 2 else {} for number in range(60)]
    answers = await asyncio.gather(
        *(
            api.post("/messages", json=message(number, contents[number]), headers=keys[number])
            for number in range(60)
        )
    )
    for number, answer in enumerate(answers):
        assert answer.status_code == (422 if number % 7 == 0 else 201)
    assert answers[0].json()["detail"] == "the database refused it: not this one"
    assert await stored(pool) == 51
    kept = await pool.fetchval("SELECT count(*) FROM idempotency_keys")
    assert kept == sum(number % 2 == 1 and number % 7 != 0 for number in range(60))


async def test_ten_thousand_keep_their_order(api: httpx2.AsyncClient, pool: Pool) -> None:
    answer = await api.post("/messages", json=[message(number) for number in range(10_000)])
    assert answer.status_code == 201
    ids = [result["id"] for result in answer.json()["results"]]
    assert ids == sorted(ids)
    rows = await pool.fetch("SELECT id, recipient_phone FROM messages ORDER BY id")
    assert [(row["id"], row["recipient_phone"]) for row in rows] == [
        (id_, f"+90{number}") for number, id_ in enumerate(ids)
    ]


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b"{}", "application/json", 422, "recipient_phone: field required"),
        (b"{", "application/json", 422, "is not JSON"),
        (b"[]", "application/json", 422, "body: has no message"),
        (b'[{"to": "+90"}, 1]', "application/json", 422, "none of the 2 messages is in"),
        (b"{}", "text/plain", 415, "application/x-ndjson"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "application/json"),
        (b" " * (BODY_BYTES + 1), "application/json", 413, f"{BODY_BYTES} bytes"),
    ],
)
async def test_problems(
    api: httpx2.AsyncClient, pool: Pool, *, content: bytes, kind: str, status: int, said: str
) -> None:
    answer = await api.post("/messages", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert said in answer.json()["detail"]
    assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"]
    assert await stored(pool) == 0


async def test_none_of_many_says_why_for_each(api: httpx2.AsyncClient, pool: Pool) -> None:
    await pool.execute(REFUSING)
    answer = await api.post("/messages", json=[message(1, "raise"), 1, message(1, "skip")])
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert [result["error"] for result in answer.json()["results"]] == [
        "the database refused it: not this one",
        "is not an object with recipient_phone and content",
        "the database refused it: a trigger on the table left it out",
    ]


async def test_too_many_at_a_time_are_turned_away(
    api: httpx2.AsyncClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "BACKLOG", 5)
    async with closed_gate(pool) as holder:
        first = asyncio.create_task(api.post("/messages", json=message(0)))

        async def it_waits() -> bool:
            return await waiting_commits(pool) == 1

        await until_true(it_waits)
        rest = [asyncio.create_task(api.post("/messages", json=message(number))) for number in range(1, 9)]
        bulk = [asyncio.create_task(api.post("/messages", json=[message(1)] * 2)) for _ in range(20)]
        turned_away, _ = await asyncio.wait([*rest, *bulk], return_when=asyncio.FIRST_COMPLETED)
        await holder.execute("SELECT pg_advisory_unlock_all()")
        singles = [answer.status_code for answer in await asyncio.gather(first, *rest)]
        many = await asyncio.gather(*bulk)
    assert sorted(singles) == [201] * 6 + [503] * 3
    assert sorted(answer.status_code for answer in many) == [201] * 16 + [503] * 4
    refused = next(task.result() for task in turned_away)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "nothing of this request is in" in refused.json()["detail"]
    assert await stored(pool) == 6 + 32


async def test_postgres_that_goes_away_is_answered_and_comes_back(
    own_pool: Pool, own_servers: RunningServers
) -> None:
    assert own_servers.postgres is not None
    async with running_api(own_pool) as api:
        assert (await api.post("/messages", json=message(1))).status_code == 201
        await own_servers.postgres.stop()
        away = await api.post("/messages", json=message(2))
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")
        await own_servers.postgres.start()

        async def back() -> bool:
            return (await api.post("/messages", json=message(3))).status_code == 201

        await until_true(back)
    found = await own_pool.fetch("SELECT recipient_phone FROM messages ORDER BY id")
    assert [row["recipient_phone"] for row in found] == ["+901", "+903"]
