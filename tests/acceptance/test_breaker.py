"""A receiver that is away, then broken, then back: two replicas spare the messages' attempts, and send them all."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, running_receiver
from tests.acceptance.replica import Replica, eventually, free_port
from tests.acceptance.test_cli import run

MESSAGES = 300
FAILURES = 8
CONCURRENCY = 4
REPLICAS = 2


async def test_a_target_that_fails_costs_a_bounded_number_of_attempts_and_no_message(
    cluster: Cluster,
) -> None:
    port = free_port()
    await cluster.configure(
        rate_limit=100,
        scheduler_interval=0.2,
        webhook_concurrency=CONCURRENCY,
        max_attempts=3,
        backoff_base=0.05,
        breaker_failures=FAILURES,
        breaker_base=0.3,
        breaker_cap=1,
        webhook_url=f"http://127.0.0.1:{port}/webhook",
    )
    ids = await cluster.insert(MESSAGES)
    replicas = await cluster.start(REPLICAS)

    await probed(cluster, 3)
    await is_bounded(cluster)
    for replica in replicas:
        health = await replica.health()
        assert (health["status"], health["scheduler"]["target_paused"]) == ("degraded", True)
        assert health["scheduler"]["probes"] >= 3
        assert (await replica.get("/scheduler")).json()["target_paused"] is True
    status = await run(replicas[0], "status")
    assert status.code == 1
    assert "paused: the target fails" in status.out

    async with running_receiver(port) as receiver:
        receiver.answer = lambda _: Answer(500, b"broken")

        async def is_asked_again() -> bool:
            return len(receiver.arrivals) >= 2

        await eventually(is_asked_again, seconds=10, what="it is probed while it is broken")
        await is_bounded(cluster)
        assert (await replicas[1].health())["scheduler"]["target_paused"] is True

        receiver.answer = lambda _: Answer()
        await cluster.reaches(sent=MESSAGES, seconds=20)
        assert set(receiver.times) == set(ids)

    for replica in replicas:
        health = await replica.health()
        assert (health["status"], health["scheduler"]["target_paused"]) == ("healthy", False)
    (paused,), (back,) = all_said(replicas, "target_paused"), all_said(replicas, "target_back")
    assert (paused["dispatcher"]["failures"], paused["error"]["message"]) == (FAILURES, "connection refused")
    assert paused["dispatcher"]["next_tick_at"] < back["dispatcher"]["next_tick_at"]

    ticks = await cluster.pool.fetch("SELECT * FROM ticks ORDER BY no")
    assert all(tick["claimed"] <= tick["rate_limit"] for tick in ticks)
    assert min(after["due_at"] - tick["due_at"] for tick, after in pairwise(ticks)) >= timedelta(seconds=0.2)


async def test_a_replica_that_dies_in_its_probe_leaves_the_next_one_to_the_other(cluster: Cluster) -> None:
    port = free_port()
    await cluster.configure(
        rate_limit=10,
        scheduler_interval=0.2,
        webhook_timeout=20,
        lease_seconds=22,
        max_attempts=10,
        backoff_base=0.05,
        breaker_failures=3,
        breaker_base=4,
        breaker_cap=4,  # however long both take to start, and however many probes that costs
        webhook_url=f"http://127.0.0.1:{port}/webhook",
    )
    await cluster.insert(20)
    replicas = await cluster.start(REPLICAS)
    await probed(cluster, 0)
    await cluster.reaches(pending=20, seconds=10)  # nothing is under way that would arrive before the probe
    async with running_receiver(port) as receiver:
        receiver.answer = lambda _: Answer(ending="hang")

        async def is_asked() -> bool:
            return len(receiver.arrivals) == 1

        await eventually(is_asked, seconds=10, what="the probe arrives")
        prober = await cluster.pool.fetchval("SELECT replica FROM ticks ORDER BY no DESC LIMIT 1")
        receiver.answer = lambda _: Answer()
        await next(replica for replica in replicas if replica.name == prober).kill()
        # the message of the probe is interrupted until its lease ends
        await cluster.reaches(sent=19, sending=1, seconds=15)
    assert len(all_said(replicas, "target_back")) == 1


async def probed(cluster: Cluster, times: int) -> None:
    async def enough() -> bool:
        return bool(
            await cluster.pool.fetchval("SELECT probes > $1 FROM schedules WHERE lane = 'webhook'", times)
        )

    await eventually(enough, seconds=20, what=f"{times} probes in a pause")


async def is_bounded(cluster: Cluster) -> None:
    """Each replica may meet the failures that it takes, and has as many more under way as it sends at once."""
    spent = await cluster.pool.fetchval("SELECT sum(attempt_count) FROM messages")
    probes = await cluster.pool.fetchval(
        "SELECT probes FROM schedules WHERE lane = 'webhook'"
    )  # read later: at least as many
    assert spent <= REPLICAS * (FAILURES + CONCURRENCY) + probes
    assert await cluster.ids("failed") == set()


def all_said(replicas: Sequence[Replica], event: str) -> list[dict[str, Any]]:
    return [line for replica in replicas for line in replica.said(event)]
