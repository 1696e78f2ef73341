"""Redis, etcd and Postgres stopped, killed, emptied and frozen under load: the service heals, and /health is true."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
import pytest
from redis.asyncio import Redis
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import Replica, eventually

from dispatcher.embedded.servers import EmbeddedServer
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.etcd import connected

BATCH = 40


async def under_load(cluster: Cluster, receiver: Receiver) -> Sequence[Replica]:
    receiver.answer = lambda _: Answer(delay=0.02)
    await cluster.configure(
        rate_limit=5,
        scheduler_interval=0.1,
        webhook_timeout=1,
        lease_seconds=3,
        backoff_base=0.05,
        webhook_url=receiver.url,
    )
    replicas = await cluster.start(2)
    for replica in replicas:
        await says(replica, "healthy")
    return replicas


async def says(replica: Replica, status: str, **parts: str) -> None:
    """Wait until /health says so, with the HTTP status that belongs to it."""

    async def said() -> bool:
        answer = await replica.get("/health")
        health = answer.json()
        assert "postgres" in health, f"/health answered {answer.status_code}: {answer.text}"
        seen = {part: health[part]["status"] for part in ("postgres", "redis", "etcd")}
        wanted = {"postgres": "up", "redis": "up", "etcd": "up", **parts}
        if (health["status"], answer.status_code, seen) != (
            status,
            503 if status == "unhealthy" else 200,
            wanted,
        ):
            raise TimeoutError(f"{answer.status_code} {health['status']} {seen}")
        return True

    await eventually(said, seconds=20, what=f"/health says {status} {parts}")


async def delivers(cluster: Cluster, receiver: Receiver, *, seconds: float = 15) -> None:
    """Put a batch in and see it arrive."""
    ids = set(await cluster.insert(BATCH))

    async def arrived() -> bool:
        return ids <= set(receiver.times)

    await eventually(arrived, seconds=seconds, what=f"{BATCH} more messages arrive")


async def all_sent_once(cluster: Cluster, receiver: Receiver) -> None:
    total = await cluster.pool.fetchval("SELECT count(*) FROM messages")
    await cluster.reaches(sent=total, seconds=30)
    assert receiver.repeated == {}
    assert set(receiver.times) == await cluster.ids("sent")


def running(server: EmbeddedServer | None) -> EmbeddedServer:
    assert server is not None
    return server


async def test_redis_stopped_flushed_and_restarted(own_cluster: Cluster, receiver: Receiver) -> None:
    cluster, redis = own_cluster, running(own_cluster.servers.redis)
    first, second = await under_load(cluster, receiver)
    await delivers(cluster, receiver)

    await redis.stop()
    await says(first, "degraded", redis="down")
    await delivers(cluster, receiver)
    assert (await first.get("/sent")).status_code == 200
    assert (await second.post("/stop")).status_code == 200
    assert (await second.post("/start")).status_code == 200

    await redis.start()
    await says(first, "healthy")
    await delivers(cluster, receiver)
    async with Redis.from_url(cluster.redis_url) as connection:
        await connection.flushall()
    await delivers(cluster, receiver)
    await says(second, "healthy")
    async with Redis.from_url(cluster.redis_url) as connection:
        assert await connection.keys("dispatcher:*:scheduler:webhook")

    await redis.stop(kill=True)
    await delivers(cluster, receiver)
    await redis.start()
    await all_sent_once(cluster, receiver)
    for replica in (first, second):
        await says(replica, "healthy")


@pytest.mark.alone
async def test_a_frozen_redis_holds_nobody_up(own_cluster: Cluster, receiver: Receiver) -> None:
    cluster, redis = own_cluster, running(own_cluster.servers.redis)
    first, _ = await under_load(cluster, receiver)
    assert redis.pid is not None
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        for path in ("/sent", "/messages", "/health", "/scheduler", "/ticks"):
            began = elapsed()
            assert (await first.get(path)).status_code == 200
            assert elapsed() - began < 2, path
        began = elapsed()
        assert (await first.post("/stop")).status_code == 200
        assert (await first.post("/start")).status_code == 200
        assert elapsed() - began < 2
        await says(first, "degraded", redis="down")
        await delivers(cluster, receiver)
    finally:
        os.kill(redis.pid, signal.SIGCONT)
    await says(first, "healthy")
    await all_sent_once(cluster, receiver)


async def test_etcd_stopped_restarted_and_compacted(own_cluster: Cluster, receiver: Receiver) -> None:
    cluster, etcd = own_cluster, running(own_cluster.servers.etcd)
    first, second = await under_load(cluster, receiver)

    for kill in (False, True):
        await etcd.stop(kill=kill)
        await says(first, "degraded", etcd="down")
        await delivers(cluster, receiver)
        assert (await first.health())["live_config"]["values"]["rate_limit"] == 5 + kill
        await etcd.start()
        for replica in (first, second):
            await says(replica, "healthy")
        await cluster.put("rate_limit", 6 + kill)
        await takes(first, "rate_limit", 6 + kill)
        await takes(second, "rate_limit", 6 + kill)

    async with connected(cluster.etcd_endpoint) as client:
        found = await client.get_prefix(b"/app/config/")
        await client.compact(found.header.revision, physical=True)
    await cluster.put("rate_limit", 8)
    await takes(first, "rate_limit", 8)

    # changes and a compaction that a stopped process sleeps through
    os.kill(first.pid, signal.SIGSTOP)
    try:
        await etcd.stop()
        await etcd.start()
        for value in (11, 12, 13):
            await cluster.put("rate_limit", value)
        async with connected(cluster.etcd_endpoint) as client:
            found = await client.get_prefix(b"/app/config/")
            await client.compact(found.header.revision, physical=True)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    await takes(first, "rate_limit", 13)
    await delivers(cluster, receiver)
    await says(first, "healthy")


async def test_a_start_without_etcd_uses_the_last_good_values(
    own_cluster: Cluster, receiver: Receiver
) -> None:
    cluster, etcd = own_cluster, running(own_cluster.servers.etcd)
    replicas = await under_load(cluster, receiver)
    for replica in replicas:
        assert await replica.terminate() == 0
    await etcd.stop()
    await replicas[0].start()
    await says(replicas[0], "degraded", etcd="down")
    await delivers(cluster, receiver)
    await etcd.start()
    await says(replicas[0], "healthy")


@pytest.mark.parametrize("kill", [False, True], ids=["fast stop", "kill -9"])
async def test_postgres_restarted(own_cluster: Cluster, receiver: Receiver, *, kill: bool) -> None:
    cluster, postgres = own_cluster, running(own_cluster.servers.postgres)
    first, second = await under_load(cluster, receiver)
    # Longer than Postgres is away on the slowest machine: what is being sent is then settled under its own lease.
    await cluster.configure(lease_seconds=25)
    await delivers(cluster, receiver)
    await cluster.insert(BATCH)

    await postgres.stop(kill=kill)
    await says(first, "unhealthy", postgres="down")
    for path in ("/sent", "/scheduler"):
        answer = await second.get(path)
        if answer.status_code != 200:  # the newest page may still come from Redis
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
    assert (await first.post("/stop")).status_code == 503

    await postgres.start()
    for replica in (first, second):
        await says(replica, "healthy")
    await delivers(cluster, receiver)
    total = await cluster.pool.fetchval("SELECT count(*) FROM messages")
    await cluster.reaches(sent=total, seconds=60)
    assert set(receiver.times) == await cluster.ids("sent")
    # what was being sent when Postgres went was settled after it came back, under its lease, or by its receipt
    assert receiver.repeated == {}


@pytest.mark.alone
async def test_a_frozen_postgres_holds_no_caller_up(own_cluster: Cluster, receiver: Receiver) -> None:
    cluster, postgres = own_cluster, running(own_cluster.servers.postgres)
    first, _ = await under_load(cluster, receiver)
    with frozen(postgres):
        for _ in range(3):
            began = elapsed()
            answer = await first.get("/health")
            assert elapsed() - began < 2
            assert (answer.status_code, answer.json()["postgres"]["status"]) == (503, "down")
        began = elapsed()
        answers = await asyncio.gather(
            *(first.get(path) for path in ("/scheduler", "/ticks", "/messages")), first.post("/stop")
        )
        assert elapsed() - began < 7
        assert [answer.status_code for answer in answers] == [503] * 4
        assert all(answer.json()["detail"].startswith("Postgres does not answer") for answer in answers)
    assert (await first.post("/start")).status_code == 200
    await says(first, "healthy")
    await delivers(cluster, receiver, seconds=30)
    await all_sent_once(cluster, receiver)


@contextmanager
def frozen(server: EmbeddedServer) -> Iterator[None]:
    """It takes connections and bytes, and answers nothing."""
    assert server.pid is not None
    parent = psutil.Process(server.pid)
    parent.suspend()  # first, so that it starts no more children
    children = parent.children(recursive=True)
    for child in children:
        child.suspend()
    try:
        yield
    finally:
        for process in (*children, parent):
            process.resume()


async def test_a_read_only_postgres_is_down(own_cluster: Cluster, receiver: Receiver) -> None:
    cluster = own_cluster
    first, _ = await under_load(cluster, receiver)
    await cluster.pool.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    await cluster.pool.execute("SELECT pg_reload_conf()")
    await says(first, "unhealthy", postgres="down")
    assert (await first.health())["postgres"]["problem"].startswith("read-only")
    assert (await first.post("/stop")).status_code == 503

    async with cluster.pool.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await connection.execute("SELECT pg_reload_conf()")
    await says(first, "healthy")
    await delivers(cluster, receiver)
    await all_sent_once(cluster, receiver)


async def takes(replica: Replica, key: str, value: object) -> None:
    async def taken() -> bool:
        return bool((await replica.health())["live_config"]["values"][key] == value)

    await eventually(taken, seconds=15, what=f"{key} is {value}")
