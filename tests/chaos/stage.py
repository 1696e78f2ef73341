"""What a chaos run plays on: replicas of the real program on servers of their own, each behind wires of its own."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.acceptance.cluster import Cluster, running_own_cluster
from tests.acceptance.receiver import Answer, Arrival, Receiver, running_receiver
from tests.acceptance.replica import Replica
from tests.chaos.load import Load
from tests.chaos.wire import Wire, running_postgres_wire, running_wire

TIMEOUT_SECONDS = 1.0
LEASE_SECONDS = 3.0
LIVE = {
    "rate_limit": 20,
    "scheduler_interval": 0.1,
    "webhook_timeout": TIMEOUT_SECONDS,
    "lease_seconds": LEASE_SECONDS,
    "backoff_base": 0.05,
    "backoff_cap": 1,
    "max_attempts": 100,
    "breaker_base": 0.2,
    "breaker_cap": 1,
}
"""Short times, so that a round takes seconds; so many attempts that no fault lasts long enough to use them up."""

BUSY_SECONDS = 0.3
"""The longest that the receiver takes for an answer in calm, so that some messages are always on the wire."""
STALL_SECONDS = TIMEOUT_SECONDS + 0.5
REFUSED, STALLED = 0.30, 0.05
"""The shares that a failing receiver refuses with 503, and answers only when nobody waits any more."""


@dataclass(frozen=True, slots=True)
class Node:
    """One replica with its own paths to the receiver and to Postgres."""

    name: str
    replica: Replica
    webhook: Wire
    postgres: Wire


class Moods:
    """How the receiver answers: quickly, or failing."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.failing = False

    def __call__(self, _: Arrival) -> Answer:
        busy = self._dice.uniform(0, BUSY_SECONDS)
        fate = self._dice.random()
        if self.failing and fate < REFUSED:
            return Answer(503, b"", delay=busy)
        if self.failing and fate < REFUSED + STALLED:
            return Answer(delay=STALL_SECONDS)
        return Answer(delay=busy)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a fault can touch, and the load that goes on meanwhile."""

    cluster: Cluster
    receiver: Receiver
    moods: Moods
    nodes: Sequence[Node]
    load: Load


@asynccontextmanager
async def running_stage(
    folder: Path, *, replicas: int, on_uncertain: str, seed: object
) -> AsyncIterator[Stage]:
    """The stage, its replicas started; what is left of them is gone at the end, their logs stay in the folder."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(running_receiver())
        receiver.answer = moods = Moods(random.Random(f"{seed} receiver"))
        cluster = await stack.enter_async_context(running_own_cluster(folder))
        await cluster.configure(**LIVE, on_uncertain=on_uncertain)
        nodes = [await _node(stack, cluster, receiver, f"replica-{number}") for number in range(replicas)]
        await asyncio.gather(*(node.replica.start() for node in nodes))
        yield Stage(cluster, receiver, moods, nodes, Load(cluster))


async def _node(stack: AsyncExitStack, cluster: Cluster, receiver: Receiver, name: str) -> Node:
    webhook = await stack.enter_async_context(
        running_wire(partial(asyncio.open_connection, "127.0.0.1", receiver.port))
    )
    postgres, db_url = await stack.enter_async_context(running_postgres_wire(cluster.db_url))
    replica = cluster.replica(APP_DB_URL=db_url)
    # so that the receiver can tell them apart
    replica.below_etcd(webhook_url=f"http://127.0.0.1:{webhook.port}/{name}")
    return Node(name, replica, webhook, postgres)
