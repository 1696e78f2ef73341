"""SIGTERM and SIGINT: no new claims, what is in flight is finished, what is not begun is given back, exit 0."""

import asyncio
import signal

import psutil
import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import Replica, eventually

from dispatcher.kernel.clock import elapsed

TOTAL = 300
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@BOTH
async def test_an_orderly_end_under_load(
    cluster: Cluster, receiver: Receiver, number: signal.Signals
) -> None:
    receiver.answer = lambda _: Answer(delay=0.5)
    await cluster.configure(
        rate_limit=200, scheduler_interval=0.2, webhook_concurrency=16, webhook_url=receiver.url
    )
    ids = await cluster.insert(TOTAL)
    (replica,) = await cluster.start(1)
    await begun(receiver, 20)

    began = elapsed()
    assert await replica.terminate(number) == 0
    assert elapsed() - began < 5, "only what was in flight is waited for"

    states = await cluster.states()
    assert set(states) == {"pending", "sent"}
    assert receiver.repeated == {}
    assert set(receiver.times) == await cluster.ids("sent")
    rows = await cluster.pool.fetch("SELECT state, attempt_count FROM messages")
    assert {(row["state"], row["attempt_count"]) for row in rows} == {("pending", 0), ("sent", 1)}
    assert replica.log()[-1]["message"] == "stopped"

    receiver.answer = lambda _: Answer()
    await replica.start()
    await cluster.reaches(sent=TOTAL, seconds=20)
    assert receiver.repeated == {}
    assert set(receiver.times) == set(ids)


async def test_the_end_comes_within_the_grace_time_when_the_webhook_hangs(
    cluster: Cluster, receiver: Receiver
) -> None:
    receiver.answer = lambda _: Answer(ending="hang")
    await cluster.configure(
        scheduler_interval=0.2, webhook_timeout=20, lease_seconds=22, webhook_url=receiver.url
    )
    await cluster.insert(2)
    replica = cluster.replica(APP_SERVER_SHUTDOWN_TIMEOUT="1s")
    await replica.start()
    await begun(receiver, 2)
    began = elapsed()
    assert await replica.terminate() == 0
    assert elapsed() - began < 6
    assert await cluster.states() == {"sending": 2}  # their end is unknown: the lease decides


@BOTH
async def test_a_second_signal_gives_up_waiting(
    cluster: Cluster, receiver: Receiver, number: signal.Signals
) -> None:
    receiver.answer = lambda _: Answer(ending="hang")
    await cluster.configure(
        scheduler_interval=0.2, webhook_timeout=20, lease_seconds=22, webhook_url=receiver.url
    )
    await cluster.insert(1)
    (replica,) = await cluster.start(1)
    await begun(receiver, 1)
    replica.send(number)

    async def refuses() -> bool:
        """It no longer serves: the first signal is being acted on."""
        _, writer = await asyncio.open_connection("127.0.0.1", replica.port)
        writer.close()
        return False

    with pytest.raises(AssertionError, match="ConnectionRefusedError"):
        await eventually(refuses, seconds=2, what="the port is closed")
    began = elapsed()
    replica.send(number)
    await replica.ended()
    assert elapsed() - began < 5


@BOTH
async def test_a_signal_during_the_start_leaves_no_process(cluster: Cluster, number: signal.Signals) -> None:
    replica = cluster.replica()
    for name in ("APP_DB_URL", "APP_REDIS_ADDR", "APP_REMOTE_ETCD_ENDPOINTS"):
        del replica.environment[name]  # so that it starts servers of its own
    await replica.launch()
    started = await eventually(lambda: children(replica), seconds=20, what="servers are being started")
    assert await replica.terminate(number) == 0

    async def gone() -> bool:
        return not any(child.is_running() for child in started) and not ours(replica)

    # what initdb has started ends by itself when it notices that initdb has been killed
    await eventually(gone, seconds=5, what="no process is left")
    assert "Traceback" not in replica.log_path.read_text()


async def children(replica: Replica) -> list[psutil.Process]:
    return psutil.Process(replica.pid).children(recursive=True)


def ours(replica: Replica) -> list[str]:
    """Processes that work in the replica's data folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        if any(str(replica.folder) in word for word in words):
            found.append(" ".join(words))
    return found


async def begun(receiver: Receiver, count: int) -> None:
    async def enough() -> bool:
        return len(receiver.arrivals) >= count

    await eventually(enough, seconds=20, what=f"{count} arrivals")
