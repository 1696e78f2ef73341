"""Messages put in over HTTP into the running program: delivered, at their time, and once each through any outage."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import cycle

import httpx2
import orjson
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Receiver
from tests.acceptance.replica import Replica, eventually

from dispatcher.kernel.clock import pause

CLIENTS = 8
OUTAGES = 3


def message(number: int, **more: object) -> dict[str, object]:
    return {"to": f"+90555{number:07}", "content": f"Message {number}", **more}


async def test_what_is_put_in_is_delivered_at_its_time(cluster: Cluster, receiver: Receiver) -> None:
    await cluster.configure(webhook_url=receiver.url, scheduler_interval=0.1, rate_limit=1000)
    first, second = await cluster.start(2)
    due = await cluster.now() + timedelta(seconds=2)
    one = await first.post("/messages", json=message(1))
    lines = b"\n".join(orjson.dumps(message(number)) for number in (2, 3))
    many = await second.post("/messages", content=lines, headers={"content-type": "application/x-ndjson"})
    later = await first.post("/messages", json=[message(4, deliver_at=due.isoformat())])
    assert [answer.status_code for answer in (one, many, later)] == [201, 201, 201]
    ids = [
        one.json()["id"],
        *(result["id"] for answer in (many, later) for result in answer.json()["results"]),
    ]
    await cluster.reaches(sent=4, seconds=20)
    arrived = {int(arrival.headers["webhook-id"]): arrival.content for arrival in receiver.arrivals}
    assert arrived == {id_: f"Message {number}" for number, id_ in enumerate(ids, 1)}
    sent_at: datetime = await cluster.pool.fetchval("SELECT sent_at FROM messages WHERE id = $1", ids[-1])
    assert sent_at >= due


async def test_repeats_through_outages_put_each_in_once(own_cluster: Cluster) -> None:
    """Clients that repeat until they are answered, on whichever replica, while Postgres and replicas die."""
    replicas = await own_cluster.start(2)
    postgres = own_cluster.servers.postgres
    assert postgres is not None
    answered: dict[str, int] = {}
    ended = False

    async def client(name: int) -> None:
        for number in range(10**6):
            if ended:
                return
            key = f"{name}-{number}"
            answered[key] = await put_in(replicas, key, name)

    async def answers(more: int) -> None:
        wanted = len(answered) + more

        async def enough() -> bool:
            return len(answered) >= wanted

        await eventually(enough, seconds=60, what=f"{more} more answers")

    async with asyncio.TaskGroup() as clients:
        for name in range(CLIENTS):
            clients.create_task(client(name))
        for _ in range(OUTAGES):
            await answers(100)
            await postgres.stop(kill=True)
            await postgres.start()
            await answers(100)
            await replicas[0].kill()
            await replicas[0].start()
        ended = True
    rows = await own_cluster.pool.fetch("SELECT id, content FROM messages")
    assert {row["content"]: row["id"] for row in rows} == answered
    assert len(rows) == len(answered)


async def put_in(replicas: Sequence[Replica], key: str, first: int) -> int:
    """The id of the message, asked for again and again until there is an answer."""
    for replica in cycle([*replicas[first % 2 :], *replicas[: first % 2]]):
        try:
            answer = await replica.post(
                "/messages", json=message(1) | {"content": key}, headers={"idempotency-key": key}
            )
        except httpx2.TransportError:
            await pause(0.01)
            continue
        if answer.status_code == 201:
            id_: int = answer.json()["id"]
            return id_
        assert answer.status_code == 503, answer.text
    raise AssertionError
