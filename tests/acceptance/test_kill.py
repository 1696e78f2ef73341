"""SIGKILL under load, of one replica after the other and of everything at once: nothing is lost, doubt is honest."""

import asyncio
import os
import random
from collections.abc import Sequence

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import Replica, eventually

ROUNDS = int(os.environ.get("DISPATCHER_KILL_ROUNDS", "4"))
SEED = int(os.environ.get("DISPATCHER_KILL_SEED", "2"))
MESSAGES_A_ROUND = 60
LEASE_SECONDS = 3


@pytest.mark.parametrize("policy", ["retry", "hold"])
async def test_kill_after_kill_loses_nothing(own_cluster: Cluster, receiver: Receiver, policy: str) -> None:
    cluster, dice = own_cluster, random.Random(SEED)
    receiver.answer = lambda _: Answer(delay=dice.uniform(0.0, 0.3))
    await cluster.configure(
        rate_limit=10,
        scheduler_interval=0.1,
        webhook_timeout=1,
        lease_seconds=LEASE_SECONDS,
        backoff_base=0.05,
        max_attempts=50,
        on_uncertain=policy,
        webhook_url=receiver.url,
    )
    ids = set(await cluster.insert(MESSAGES_A_ROUND))
    replicas = await cluster.start(3)
    in_flight: list[set[int]] = []
    for _ in range(ROUNDS):
        ids |= set(await cluster.insert(MESSAGES_A_ROUND))
        await arrive(receiver, MESSAGES_A_ROUND // 2)
        victim = dice.choice(replicas)
        await victim.answers()
        await victim.kill()
        in_flight.append(await cluster.ids("sending"))
        await victim.launch()  # the others go on meanwhile
    ids |= set(await cluster.insert(MESSAGES_A_ROUND))
    await arrive(receiver, MESSAGES_A_ROUND // 3)
    in_flight.append(await kill_everything(cluster, replicas))
    await asyncio.gather(*(replica.start() for replica in replicas))

    await eventually(lambda: all_decided(cluster), seconds=60, what="every message is sent or held")

    sent, held = await cluster.ids("sent"), await cluster.ids("uncertain")
    assert sent | held == ids, "nothing is lost"
    assert sent <= set(receiver.times), "what counts as sent has arrived"
    for webhook_id, times in receiver.repeated.items():
        assert times - 1 <= sum(webhook_id in flying for flying in in_flight), (
            "only what was in flight comes again"
        )
    if policy == "retry":
        assert held == set()
    else:
        assert receiver.repeated == {}
        assert held, "some were in flight at the kills"
        assert held <= set().union(*in_flight)
        listed = (await replicas[0].get("/messages", params={"status": "uncertain", "limit": 1000})).json()
        assert {message["id"] for message in listed} == held
        assert all("interrupted" in message["last_error"] for message in listed)
    print(  # noqa: T201 - the figures that the README shows, with `pytest -s`
        f"\n{policy}: {ROUNDS} kills of one and one of all, {len(ids)} messages, {len(sent)} sent, {len(held)} held, "
        f"{sum(receiver.repeated.values()) - len(receiver.repeated)} repeated, "
        f"{sum(map(len, in_flight))} in flight at the kills"
    )


async def arrive(receiver: Receiver, more: int) -> None:
    wanted = len(receiver.arrivals) + more

    async def enough() -> bool:
        return len(receiver.arrivals) >= wanted

    await eventually(enough, seconds=30, what=f"{more} more arrivals")


async def kill_everything(cluster: Cluster, replicas: Sequence[Replica]) -> set[int]:
    """SIGKILL every replica and every server, and start the servers again. What was in flight."""
    servers = [
        server for server in (cluster.servers.postgres, cluster.servers.redis, cluster.servers.etcd) if server
    ]
    await asyncio.gather(
        *(replica.kill() for replica in replicas), *(server.stop(kill=True) for server in servers)
    )
    for server in servers:
        await server.start()

    async def in_flight() -> tuple[set[int]]:
        return (await cluster.ids("sending"),)

    return (await eventually(in_flight, seconds=20, what="Postgres answers again"))[0]


async def all_decided(cluster: Cluster) -> bool:
    states = await cluster.states()
    if set(states) <= {"sent", "uncertain"}:
        return True
    raise TimeoutError(f"states are {states}")
