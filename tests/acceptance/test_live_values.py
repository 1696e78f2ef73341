"""Bad live values: refused, logged, shown in /health, and nothing else changes."""

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Receiver
from tests.acceptance.replica import Replica, eventually

BAD = [
    ("rate_limit", "abc"),
    ("rate_limit", "0"),
    ("rate_limit", "-1"),
    ("rate_limit", "1e99"),
    ("rate_limit", ""),
    ("rate_limit", b"\xff\xfe"),
    ("scheduler_interval", "nan"),
    ("scheduler_interval", "9" * 2**20),
    ("webhook_timeout", "29"),
    ("rate_limits", "5"),
    ("webhook_url", "ftp://127.0.0.1/hook"),
    ("webhook_url", "http://"),
]


@pytest.fixture
async def replica(cluster: Cluster, receiver: Receiver) -> Replica:
    await cluster.configure(rate_limit=7, scheduler_interval=0.2, webhook_url=receiver.url)
    (replica,) = await cluster.start(1)
    return replica


async def test_each_bad_value_is_refused_and_changes_nothing(
    cluster: Cluster, receiver: Receiver, replica: Replica
) -> None:
    good = {"rate_limit": 7, "scheduler_interval": 0.2, "webhook_url": receiver.url}
    before = (await replica.health())["live_config"]["values"]
    for key, value in BAD:
        await cluster.put(key, value)

        async def is_refused(key: str = key) -> bool:
            return bool(key in (await replica.health())["live_config"]["refused"])

        await eventually(is_refused, seconds=5, what=f"{key}={value[:20]!r} is refused")
        health = await replica.health()
        assert health["status"] == "degraded"
        assert health["live_config"]["values"] == before
        said = replica.said("live_value_refused")[-1]["dispatcher"]
        assert said == {"key": key, "reason": health["live_config"]["refused"][key]}

        (message,) = await cluster.insert(1)

        async def arrives(message: int = message) -> bool:
            return message in receiver.times

        await eventually(arrives, seconds=5, what="it still sends")
        if key in good:
            await cluster.put(key, good[key])
        else:
            await cluster.delete(key)

        async def is_healthy() -> bool:
            return bool((await replica.health())["status"] == "healthy")

        await eventually(is_healthy, seconds=5, what="a good value clears it")


async def test_a_bad_value_at_the_start_leaves_the_last_good_one_in_force(
    cluster: Cluster, receiver: Receiver, replica: Replica
) -> None:
    await cluster.put("rate_limit", "abc")
    assert await replica.terminate() == 0
    await replica.start()
    health = await replica.health()
    assert health["live_config"]["values"]["rate_limit"] == 7
    assert set(health["live_config"]["refused"]) == {"rate_limit"}
    await cluster.insert(1)
    await cluster.reaches(sent=1, seconds=5)
    assert len(receiver.arrivals) == 1


async def test_a_deleted_key_falls_back(cluster: Cluster, replica: Replica) -> None:
    await cluster.delete("rate_limit")

    async def fallen_back() -> bool:
        live = (await replica.health())["live_config"]
        return bool(live["values"]["rate_limit"] == 2 and live["sources"]["rate_limit"] == "default")

    await eventually(fallen_back, seconds=5, what="the default is in force")
