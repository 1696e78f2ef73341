"""The main job: the next messages at every tick, in order, and a new interval while it runs."""

from datetime import datetime, timedelta
from itertools import pairwise

from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Receiver


async def test_two_messages_a_tick_until_none_are_left(cluster: Cluster, receiver: Receiver) -> None:
    await cluster.configure(scheduler_interval=1, webhook_url=receiver.url)
    ids = await cluster.insert(5)
    (replica,) = await cluster.start(1)

    await cluster.reaches(sent=5, seconds=15)

    assert [arrival.webhook_id for arrival in sorted(receiver.arrivals, key=lambda a: a.webhook_id)] == ids
    assert {arrival.webhook_id for arrival in receiver.arrivals[:2]} == set(ids[:2])
    assert {arrival.webhook_id for arrival in receiver.arrivals[2:4]} == set(ids[2:4])

    sent = (await replica.get("/sent")).json()
    assert {message["id"]: message["messageId"] for message in sent} == {id_: f"receipt-{id_}" for id_ in ids}
    assert [message["sent_at"] for message in sent] == sorted((m["sent_at"] for m in sent), reverse=True)
    rows = await cluster.pool.fetch("SELECT sent_status, sent_at FROM messages")
    assert all(row["sent_status"] and row["sent_at"] for row in rows)
    ticks = (await replica.get("/ticks")).json()
    first = ticks[::-1][:3]
    assert [tick["sent"] for tick in first] == [2, 2, 1]
    due = [datetime.fromisoformat(tick["due_at"]) for tick in first]
    assert [b - a for a, b in pairwise(due)] == [timedelta(seconds=1)] * 2
    # what arrives is as late as the machine is busy, and never before its tick
    assert all(late.at >= first_of.at for first_of, late in pairwise(receiver.arrivals[::2]))


async def test_a_new_interval_moves_the_ticks_without_a_restart(cluster: Cluster, receiver: Receiver) -> None:
    await cluster.configure(webhook_url=receiver.url)
    await cluster.insert(10)
    (replica,) = await cluster.start(1)
    await cluster.reaches(sent=2, pending=8, seconds=10)
    assert (await replica.health())["scheduler"]["interval_seconds"] == 120

    await cluster.put("scheduler_interval", 1)

    await cluster.reaches(sent=10, seconds=15)
    rows = await cluster.pool.fetch("SELECT due_at FROM ticks WHERE sent > 0 ORDER BY no")
    gaps = [later["due_at"] - earlier["due_at"] for earlier, later in pairwise(rows)]
    assert [gap.total_seconds() for gap in gaps[1:]] == [1.0] * 3


async def test_nothing_is_claimed_without_a_webhook_url_and_health_says_why(
    cluster: Cluster, receiver: Receiver
) -> None:
    await cluster.configure(scheduler_interval=0.2)
    await cluster.insert(1)
    (replica,) = await cluster.start(1)
    scheduler = (await replica.health())["scheduler"]
    assert "webhook_url is not set" in scheduler["blocked"]
    assert scheduler["running"]
    await cluster.passes(await cluster.now(), after=1)
    assert await cluster.states() == {"pending": 1}

    await cluster.put("webhook_url", receiver.url)
    await cluster.reaches(sent=1, seconds=5)
    assert (await replica.health())["scheduler"]["blocked"] is None


async def test_the_same_switch_and_the_same_list_under_every_name(
    cluster: Cluster, receiver: Receiver
) -> None:
    await cluster.configure(scheduler_interval=0.2, webhook_url=receiver.url)
    await cluster.insert(3)
    (replica,) = await cluster.start(1)
    await cluster.reaches(sent=3, seconds=10)

    lists = [(await replica.get(path)).json() for path in ("/sent", "/sent-messages", "/messages")]
    assert lists[0] == lists[1] == lists[2]
    assert len(lists[0]) == 3

    for command, word in (("stop", "Stopped"), ("start", "Started")):
        answer = await replica.get("/process_message", params={"command": command})
        assert answer.json()["status"] == word
        assert (await replica.get("/scheduler")).json()["running"] is (word == "Started")
    for state, word in (("pause", "Stopped"), ("start", "Started")):
        answer = await replica.put("/worker-pool/state", json={"state": state})
        assert answer.json()["status"] == word
        assert (await replica.get("/scheduler")).json()["running"] is (word == "Started")
