"""Three replicas: an exact rate over all of them, ticks on the grid, and a stop that means stop."""

import asyncio
import os
from datetime import timedelta

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import eventually

MESSAGES = int(os.environ.get("DISPATCHER_RATE_MESSAGES", "250"))
INTERVAL = timedelta(milliseconds=200)
RATE = 5


@pytest.mark.alone
async def test_an_exact_rate_over_three_replicas_each_message_once_on_the_grid(
    cluster: Cluster, receiver: Receiver
) -> None:
    await cluster.configure(rate_limit=RATE, scheduler_interval=0.2, webhook_url=receiver.url)
    ids = await cluster.insert(MESSAGES)
    await cluster.start(3)

    await cluster.reaches(sent=MESSAGES, seconds=MESSAGES / RATE * 0.2 + 20)

    assert receiver.repeated == {}
    assert set(receiver.times) == set(ids)
    ticks = await cluster.pool.fetch("SELECT * FROM ticks WHERE finished_at IS NOT NULL ORDER BY no")
    working = [tick for tick in ticks if tick["claimed"]]
    assert [tick["claimed"] for tick in working] == [RATE] * (MESSAGES // RATE)
    assert [tick["no"] for tick in working] == list(range(working[0]["no"], working[0]["no"] + len(working)))
    per_tick = await cluster.pool.fetch("SELECT tick_no, count(*) AS made FROM attempts GROUP BY tick_no")
    assert {row["made"] for row in per_tick} == {RATE}

    schedule = await cluster.pool.fetchrow("SELECT * FROM schedules WHERE lane = 'webhook'")
    assert schedule is not None
    for tick in ticks:
        assert (
            tick["due_at"] == schedule["anchor_at"] + (tick["no"] - schedule["anchor_no"]) * INTERVAL
        )  # to the microsecond
        assert tick["claimed_at"] >= tick["due_at"]
    late = sorted(tick["claimed_at"] - tick["due_at"] for tick in working)
    shares = {
        name: sum(tick["replica"] == name for tick in working) for name in {t["replica"] for t in working}
    }
    print(  # noqa: T201 - the figures that the README shows, with `pytest -s`
        f"\n{len(working)} ticks, {RATE} messages each; late: largest {late[-1] / timedelta(milliseconds=1):.1f} ms, "
        f"median {late[len(late) // 2] / timedelta(milliseconds=1):.1f} ms; ticks by replica: {sorted(shares.values())}"
    )
    assert len(shares) > 1
    # A stalled disk makes any tick late, so only the best tenth is held to it; the line above says the rest.
    assert late[len(late) // 10] < timedelta(milliseconds=50)


async def test_after_the_answer_of_stop_nothing_is_claimed_anywhere(
    cluster: Cluster, receiver: Receiver
) -> None:
    receiver.answer = lambda _: Answer(delay=0.15)
    await cluster.configure(rate_limit=20, scheduler_interval=0.1, webhook_url=receiver.url)
    total = 1500
    await cluster.insert(total)
    replicas = await cluster.start(3)

    for round_no in range(4):
        began = len(receiver.arrivals)
        await arrives(receiver, began + 40)
        stopped = await replicas[round_no % 3].post("/stop")
        moment = await cluster.now()
        pending = await cluster.ids("pending")
        attempts = await attempts_of(cluster)
        assert stopped.json()["status"] == "Stopped"
        assert pending, "the load must outlast the test"

        await cluster.passes(moment, after=0.5)
        await settled(cluster)
        assert await cluster.ids("pending") == pending
        assert await attempts_of(cluster) == attempts
        assert await cluster.pool.fetchval("SELECT count(*) FROM ticks WHERE claimed_at > $1", moment) == 0
        assert len(receiver.arrivals) == total - len(pending)
        for replica in replicas:
            scheduler = (await replica.get("/scheduler")).json()
            assert (scheduler["running"], scheduler["next_tick_at"]) == (False, None)

        started = await replicas[(round_no + 1) % 3].post("/start")
        assert started.json()["status"] == "Started"

    await cluster.reaches(sent=total, seconds=60)
    assert receiver.repeated == {}


async def test_the_stopped_state_survives_a_restart_of_all(cluster: Cluster, receiver: Receiver) -> None:
    await cluster.configure(scheduler_interval=0.1, webhook_url=receiver.url)
    replicas = await cluster.start(3)
    assert (await replicas[0].post("/stop")).json()["scheduler"]["running"] is False
    await cluster.insert(6)

    assert await asyncio.gather(*(replica.terminate() for replica in replicas)) == [0, 0, 0]
    await asyncio.gather(*(replica.start() for replica in replicas))
    await cluster.passes(await cluster.now(), after=0.7)
    assert await cluster.states() == {"pending": 6}
    assert [(await replica.health())["scheduler"]["running"] for replica in replicas] == [False] * 3

    await replicas[2].post("/start")
    await cluster.reaches(sent=6, seconds=10)
    assert receiver.repeated == {}


async def test_the_last_word_wins_between_stop_and_auto_sending(cluster: Cluster, receiver: Receiver) -> None:
    await cluster.configure(scheduler_interval=0.1, webhook_url=receiver.url, auto_sending="false")
    first, second = await cluster.start(2)
    await cluster.insert(2)
    await cluster.passes(await cluster.now(), after=0.5)
    assert await cluster.states() == {"pending": 2}

    await cluster.put("auto_sending", "true")
    await cluster.reaches(sent=2, seconds=5)
    await first.post("/stop")
    await cluster.put("rate_limit", 3)  # any other change must not start it again
    await cluster.insert(2)
    await cluster.passes(await cluster.now(), after=0.7)
    assert await cluster.states() == {"sent": 2, "pending": 2}
    await second.post("/start")
    await cluster.reaches(sent=4, seconds=5)


async def arrives(receiver: Receiver, count: int) -> None:
    async def enough() -> bool:
        return len(receiver.arrivals) >= count

    await eventually(enough, seconds=20, what=f"{count} arrivals")


async def settled(cluster: Cluster) -> None:
    async def none_sending() -> bool:
        return not await cluster.ids("sending")

    await eventually(none_sending, seconds=10, what="nothing is being sent")


async def attempts_of(cluster: Cluster) -> int:
    made: int = await cluster.pool.fetchval("SELECT coalesce(sum(attempt_count), 0) FROM messages")
    return made
