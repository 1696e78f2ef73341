"""Texts for the console put in, listed, moved and cancelled, over the API and the command line of the running program."""

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx2
import orjson
from tests.acceptance.cluster import Cluster
from tests.acceptance.replica import Replica
from tests.acceptance.test_cli import run

from dispatcher.kernel.clock import utc_now


def in_an_hour(*, minutes: int = 0) -> datetime:
    return utc_now().replace(microsecond=0) + timedelta(hours=1, minutes=minutes)


async def listed(replica: Replica) -> list[str]:
    found = await replica.get("/messages", params={"status": "pending", "lane": "console"})
    return [message["content"] for message in found.json()]


async def test_what_waits_is_listed_in_its_order_moved_and_cancelled(cluster: Cluster) -> None:
    (replica,) = await cluster.start(1)
    put = []
    for minutes in (3, 1, 2):
        at = in_an_hour(minutes=minutes)
        text = {"time": at.isoformat(), "message": f"at {minutes}"}
        put.append(await replica.post("/echoAtTime", json=text))
    assert [answer.status_code for answer in put] == [202] * 3
    assert await listed(replica) == ["at 1", "at 2", "at 3"]
    one = (await replica.get(put[-1].headers["location"])).json()
    assert (one["lane"], one["content"], one["status"], one["late_ms"]) == (
        "console",
        "at 2",
        "pending",
        None,
    )
    moved = await replica.patch(f"/messages/{one['id']}", json={"deliver_at": (in_an_hour()).isoformat()})
    assert moved.status_code == 200
    assert await listed(replica) == ["at 2", "at 1", "at 3"]
    every = await replica.post(
        "/messages/move?lane=console", json={"deliver_at": int((in_an_hour()).timestamp())}
    )
    assert (every.json()["changed"] >= 2, every.json()["more"]) == (True, False)
    assert (await replica.delete(f"/messages/{one['id']}")).json()["status"] == "cancelled"
    assert (await replica.patch(f"/messages/{one['id']}", json={"deliver_at": 1924354800})).status_code == 409
    assert sorted(await listed(replica)) == ["at 1", "at 3"]
    assert {"message_moved", "messages_moved"} <= {line["message"] for line in replica.log()}


async def test_a_query_as_curl_sends_it(cluster: Cluster) -> None:
    (replica,) = await cluster.start(1)
    at = int((in_an_hour()).timestamp())
    for message in (quote("Güzel, 100% & more"), "G%c3%bczel,+100%25+%26+more"):
        reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
        writer.write(
            f"POST /echoAtTime?time={at}&message={message} HTTP/1.1\r\n"
            "Host: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 202 ")
    assert await listed(replica) == ["Güzel, 100% & more"] * 2
    form = await replica.post("/echoAtTime", data={"time": str(at), "message": "x"})
    assert (form.status_code, "in the query" in form.json()["detail"]) == (415, True)


async def test_a_late_one_tells_how_late_it_was(cluster: Cluster) -> None:
    (replica,) = await cluster.start(1)
    await cluster.pool.execute(
        "INSERT INTO messages (lane, recipient_phone, content, state, sent_status, sent_at, deliver_at) "
        "VALUES ('console', 'console', 'x', 'sent', true, now(), now() - interval '12.345 milliseconds')"
    )
    (sent,) = (await replica.get("/sent?lane=console")).json()
    assert (sent["late_ms"], (await replica.get("/messages/1")).json()["late_ms"]) == (12.345, 12.345)


async def test_the_command_line_does_the_same(cluster: Cluster) -> None:
    (replica,) = await cluster.start(1)
    at = in_an_hour()
    zone = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    understood = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await run(replica, "echo", "Hello", "--at", zone)).out == f"1 is due at {understood}\n"
    before = utc_now()
    answer = orjson.loads((await run(replica, "echo", "-", "--in", "1h30m", "--json")).out)
    ahead = datetime.fromisoformat(answer["time"]) - before
    assert timedelta(hours=1.5) <= ahead < timedelta(hours=1.6)
    assert (answer["id"], answer["message"]) == (2, "-")
    seconds = str(int(at.timestamp()) + 60)
    moved = await run(replica, "move", "1", "--at", seconds)
    assert moved.out == f"1 is due at {(at + timedelta(minutes=1)).strftime('%Y-%m-%dT%H:%M:%SZ')}\n"
    assert (await run(replica, "move", "--lane", "console", "--at", zone)).out == "2 changed\n"
    assert (await run(replica, "cancel", "--lane", "console")).out == "2 changed\n"
    wrong = (
        (("echo", "x"), "say when: --at"),
        (("echo", "x", "--at", zone, "--in", "5s"), "say when: --at"),
        (("echo", "x", "--in", "5"), "is not a while"),
        (("echo", "x", "--in", "5s3"), "is not a while"),
        (("echo", "x", "--in", "999999999d"), "too far ahead"),
        (("echo", "x", "--at", "2020-01-01T00:00:00Z"), "is in the past"),
        (("echo", "x", "--at", "soon"), "is not a time"),
        (("echo", "", "--in", "5s"), "at least 1 character"),
        (("move", "1", "--in", "5s"), "has been cancelled"),
        (("move", "--in", "5s"), "say which messages"),
    )
    for refused, (words, said) in zip(
        await asyncio.gather(*(run(replica, *words) for words, _ in wrong)), wrong, strict=True
    ):
        assert (refused.code, refused.err.count("\n"), said in refused.err) == (1, 1, True), (words, refused)


async def test_a_thousand_come_in_at_once_each_once(cluster: Cluster) -> None:
    (replica,) = await cluster.start(1)
    at = (in_an_hour()).isoformat()
    limits = httpx2.Limits(max_connections=50)
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{replica.port}", limits=limits, timeout=30, trust_env=False
    ) as client:
        answers = await asyncio.gather(
            *(client.post("/echoAtTime", json={"time": at, "message": f"{n}"}) for n in range(1000))
        )
    assert {answer.status_code for answer in answers} == {202}
    rows = await cluster.pool.fetch("SELECT id, content FROM messages WHERE lane = 'console'")
    assert {row["id"]: row["content"] for row in rows} == {
        answer.json()["id"]: answer.json()["message"] for answer in answers
    }
    assert len(rows) == 1000
