"""Idempotency keys: a request is done once, whoever repeats it, wherever, and whatever Postgres does meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import httpx2
import pytest
from tests.integration.ingesting import COMMIT_WAITS, GATE, closed_gate, running_api, stored, waiting_commits
from tests.integration.rows import until_true

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.messages.idempotency import KEPT, forget_idempotency_keys

ONE = {"recipient_phone": "+90", "content": "Hi"}
OTHER = {"recipient_phone": "+91", "content": "Hi"}
KEY = {"idempotency-key": "order-2342"}


@pytest.fixture
async def replicas(pool: Pool, db_url: str) -> AsyncIterator[tuple[httpx2.AsyncClient, httpx2.AsyncClient]]:
    async with (
        connected_pool(db_url, application="other replica", size=4) as other,
        running_api(pool) as first,
        running_api(other) as second,
    ):
        yield first, second


@pytest.mark.parametrize("body", [ONE, [ONE, OTHER], [ONE, 1]], ids=["one", "many", "some"])
async def test_a_repeat_gets_the_same_answer(
    replicas: tuple[httpx2.AsyncClient, httpx2.AsyncClient], pool: Pool, body: object
) -> None:
    first, second = replicas
    answer = await first.post("/messages", json=body, headers=KEY)
    assert answer.status_code in {201, 207}
    before = await stored(pool)
    await pool.execute("UPDATE messages SET state = 'cancelled', held_at = now()")  # whatever became of them
    for api in (first, second):
        repeat = await api.post("/messages", json=body, headers=KEY)
        assert repeat.headers.pop("idempotent-replayed") == "true"
        assert (repeat.status_code, repeat.content) == (answer.status_code, answer.content)
        assert repeat.headers.get("location") == answer.headers.get("location")
    assert "idempotent-replayed" not in answer.headers
    assert await stored(pool) == before


async def test_a_key_belongs_to_one_request(
    replicas: tuple[httpx2.AsyncClient, httpx2.AsyncClient], pool: Pool
) -> None:
    first, second = replicas
    assert (await first.post("/messages", json=ONE, headers=KEY)).status_code == 201
    for api, body in ((first, OTHER), (second, [ONE]), (second, ONE | {"priority": "low"})):
        other = await api.post("/messages", json=body, headers=KEY)
        assert (other.status_code, other.headers["content-type"]) == (409, "application/problem+json")
    assert (await second.post("/messages", json=OTHER, headers={"idempotency-key": "2"})).status_code == 201
    assert await stored(pool) == 2


@pytest.mark.parametrize("body", [ONE, [ONE] * 50], ids=["one", "many"])
async def test_a_race_of_one_key_inserts_once(
    replicas: tuple[httpx2.AsyncClient, httpx2.AsyncClient], pool: Pool, body: object
) -> None:
    racing = [api.post("/messages", json=body, headers=KEY) for _ in range(8) for api in replicas]
    answers = await asyncio.gather(*racing)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count(None) == 1
    assert await stored(pool) == (1 if isinstance(body, dict) else 50)


async def test_a_repeat_waits_for_the_first_to_commit(
    replicas: tuple[httpx2.AsyncClient, httpx2.AsyncClient], pool: Pool
) -> None:
    first, second = replicas
    async with closed_gate(pool) as holder:
        original = asyncio.create_task(first.post("/messages", json=ONE, headers=KEY))

        async def it_stands_before_its_commit() -> bool:
            return await waiting_commits(pool) == 1

        await until_true(it_stands_before_its_commit)
        repeat = asyncio.create_task(second.post("/messages", json=ONE, headers=KEY))
        other = asyncio.create_task(second.post("/messages", json=OTHER, headers=KEY))

        async def it_waits_for_the_key() -> bool:
            return bool(
                await pool.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND query LIKE '%idempotency_keys%'"
                )
            )

        await until_true(it_waits_for_the_key)
        assert not repeat.done()
        await holder.execute("SELECT pg_advisory_unlock_all()")
        answers = await asyncio.gather(original, repeat, other)
    assert [answer.status_code for answer in answers] == [201, 201, 409]
    assert answers[0].content == answers[1].content
    assert await stored(pool) == 1


async def test_many_keys_crosswise_over_replicas(
    replicas: tuple[httpx2.AsyncClient, httpx2.AsyncClient], pool: Pool
) -> None:
    first, second = replicas
    keys = [f"key {number}" for number in range(200)]
    answers = await asyncio.gather(
        *(first.post("/messages", json=ONE, headers={"idempotency-key": key}) for key in keys),
        *(second.post("/messages", json=ONE, headers={"idempotency-key": key}) for key in reversed(keys)),
    )
    assert {answer.status_code for answer in answers} == {201}
    ids = [answer.json()["id"] for answer in answers]
    assert ids[:200] == ids[:199:-1]
    assert await stored(pool) == 200


async def test_nothing_in_is_nothing_kept(
    replicas: tuple[httpx2.AsyncClient, httpx2.AsyncClient], pool: Pool
) -> None:
    first, _ = replicas
    await pool.execute("ALTER TABLE messages ADD CONSTRAINT no_plus CHECK (recipient_phone <> '+90')")
    assert (await first.post("/messages", json=ONE, headers=KEY)).status_code == 422
    assert (await first.post("/messages", json=[ONE, ONE], headers=KEY)).status_code == 422
    await pool.execute("ALTER TABLE messages DROP CONSTRAINT no_plus")
    assert (await first.post("/messages", json=ONE, headers=KEY)).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "k" * 256, "ü", "a\tb", '"'])
async def test_what_is_no_key(
    replicas: tuple[httpx2.AsyncClient, httpx2.AsyncClient], pool: Pool, key: str
) -> None:
    headers = [(b"idempotency-key", key.encode()), (b"content-type", b"application/json")]
    answer = await replicas[0].post("/messages", json=ONE, headers=headers)
    if key == '"':
        assert answer.status_code == 201
        return
    assert answer.status_code == 422
    assert "Idempotency-Key: must have 1 to 255" in answer.json()["detail"]
    assert await stored(pool) == 0


async def test_quotes_around_a_key_are_no_part_of_it(
    replicas: tuple[httpx2.AsyncClient, httpx2.AsyncClient],
) -> None:
    first, second = replicas
    answer = await first.post("/messages", json=ONE, headers={"idempotency-key": '"a key"'})
    assert (
        await second.post("/messages", json=ONE, headers={"idempotency-key": "a key"})
    ).content == answer.content


async def test_keys_are_forgotten_after_a_day(pool: Pool) -> None:
    await pool.execute(
        """
        INSERT INTO idempotency_keys (key, fingerprint, created_at)
        SELECT 'key ' || n, '', now() - $1::interval + (n - 30) * interval '1 minute' FROM generate_series(1, 60) n
        """,
        KEPT - timedelta(seconds=30),
    )
    assert await forget_idempotency_keys(pool, 20) == 20
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys WHERE key = ANY('{key 1,key 20}')") == 0
    assert await forget_idempotency_keys(pool, 20) == 9
    assert await forget_idempotency_keys(pool, 20) == 0
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 31


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_a_repeat_after_postgres_went_away_is_safe(
    own_pool: Pool, own_servers: RunningServers, *, killed: bool
) -> None:
    assert own_servers.postgres is not None
    assert own_servers.addresses.db_url is not None
    await own_pool.execute(COMMIT_WAITS)
    holder = await asyncpg.connect(own_servers.addresses.db_url)
    try:
        async with running_api(own_pool) as api:
            await holder.execute("SELECT pg_advisory_lock($1)", GATE)
            request = asyncio.create_task(api.post("/messages", json=[ONE, OTHER], headers=KEY))

            async def it_stands_before_its_commit() -> bool:
                return await waiting_commits(own_pool) == 1

            await until_true(it_stands_before_its_commit)
            await own_servers.postgres.stop(kill=killed)
            broken = await request
            assert (broken.status_code, broken.headers["retry-after"]) == (503, "1")
            assert "with the same Idempotency-Key" in broken.json()["detail"]
            await own_servers.postgres.start()

            async def repeated() -> bool:
                return (await api.post("/messages", json=[ONE, OTHER], headers=KEY)).status_code == 201

            await until_true(repeated)
            assert await stored(own_pool) == 2
            assert (await api.post("/messages", json=[ONE, OTHER], headers=KEY)).status_code == 201
        assert await stored(own_pool) == 2
    finally:
        holder.terminate()
        await own_pool.execute("DROP FUNCTION commit_waits CASCADE")
