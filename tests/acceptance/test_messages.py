"""Messages looked at, cancelled, retried and resolved, over the API and the command line of the running program."""

import asyncio

import orjson
import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import Replica
from tests.acceptance.test_cli import run


@pytest.fixture
async def replica(cluster: Cluster, receiver: Receiver) -> Replica:
    """One that has sent messages 1 and 2, failed at 3 and 4, and keeps 5 and 6 for later."""
    receiver.answer = lambda arrival: Answer(404 if arrival.content == "bad" else 202)
    await cluster.configure(scheduler_interval=0.2, rate_limit=10, webhook_url=receiver.url)
    await cluster.insert(2)
    await cluster.insert(2, content="bad")
    (replica,) = await cluster.start(1)
    await cluster.reaches(sent=2, failed=2, seconds=10)
    await cluster.pool.execute(
        "INSERT INTO messages (recipient_phone, content, priority, deliver_at) "
        "SELECT '+9055500000' || n, 'later', 0, now() + interval '1 day' FROM generate_series(1, 2) n"
    )
    return replica


async def test_a_failed_message_is_looked_at_and_retried(
    cluster: Cluster, receiver: Receiver, replica: Replica
) -> None:
    failed = (await replica.get("/messages/3")).json()
    assert (failed["status"], failed["priority"], failed["attempt_count"]) == ("failed", "normal", 1)
    (attempt,) = failed["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["status"]) == (1, "rejected", 404)
    assert attempt["replica"] == replica.name
    receiver.answer = lambda _: Answer(202)
    again = await replica.post("/messages/3/retry")
    assert (again.status_code, again.json()["status"]) == (200, "pending")
    await cluster.reaches(sent=3, failed=1, pending=2, seconds=10)
    sent = (await replica.get("/messages/3")).json()
    assert [(one["number"], one["outcome"]) for one in sent["attempts"]] == [
        (1, "rejected"),
        (2, "delivered"),
    ]
    refused = await replica.post("/messages/3/retry")
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["detail"].startswith("message 3 has been sent; only")
    assert (await replica.get("/messages/999")).status_code == 404


async def test_what_is_pending_is_listed_and_cancelled(replica: Replica) -> None:
    listed = (
        await replica.get("/messages", params={"status": "pending", "recipient": "+90555000001"})
    ).json()
    assert [(one["id"], one["priority"]) for one in listed] == [(5, "high")]
    for _ in range(2):
        cancelled = await replica.delete("/messages/5")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await replica.get("/messages/5")).json()["attempts"] == []
    every = await replica.delete("/messages")
    assert every.status_code == 422
    assert "lane=webhook" in every.json()["detail"]
    misspelt = await replica.delete("/messages", params={"lane": "webhook", "recepient": "+1"})
    assert misspelt.status_code == 422
    done = await replica.delete("/messages", params={"lane": "webhook"})
    assert done.json() == {"changed": 1, "more": False}
    plus = await replica.get("/messages?recipient=+90555")
    assert (plus.status_code, "%2B" in plus.json()["detail"]) == (422, True)
    assert (await replica.get("/messages?since=2026-01-01T00:00:00")).status_code == 422
    assert (await replica.get("/messages?since=0001-01-01T00:00:00%2B14:00")).status_code == 422


async def test_what_is_uncertain_is_resolved_and_shows_at_once(cluster: Cluster, replica: Replica) -> None:
    await cluster.pool.execute("UPDATE messages SET state = 'uncertain' WHERE state = 'failed'")
    assert len((await replica.get("/sent")).json()) == 2
    one = await replica.post("/messages/3/resolve", json={"as": "sent"})
    assert (one.status_code, one.json()["sent_status"]) == (200, True)
    assert (await replica.get("/sent")).json()[0]["id"] == 3
    wrong = await replica.post("/messages/4/resolve", json={"as": "lost"})
    assert wrong.status_code == 422
    many = await replica.post("/messages/resolve?lane=webhook", json={"as": "resend"})
    assert many.json() == {"changed": 1, "more": False}
    await cluster.reaches(sent=3, failed=1, pending=2, seconds=10)
    assert (await replica.post("/messages/retry?status=failed")).json() == {"changed": 1, "more": False}
    assert {"message_resolved", "messages_resolved", "messages_retried"} <= {
        line["message"] for line in replica.log()
    }


async def test_the_command_line_does_the_same(cluster: Cluster, receiver: Receiver, replica: Replica) -> None:
    shown = await run(replica, "show", "3")
    assert (shown.code, "rejected" in shown.out, "404" in shown.out) == (0, True, True)
    assert orjson.loads((await run(replica, "show", "3", "--json")).out)["id"] == 3
    receiver.answer = lambda _: Answer(202)
    assert (await run(replica, "retry", "3")).out == "3 is pending\n"
    assert (await run(replica, "retry", "--status", "failed")).out == "1 changed\n"
    await cluster.reaches(sent=4, pending=2, seconds=10)
    assert (await run(replica, "cancel", "5")).out == "5 is cancelled\n"
    assert (await run(replica, "cancel", "--recipient", "+90555000002")).out == "1 changed\n"
    await cluster.pool.execute("UPDATE messages SET state = 'uncertain' WHERE state = 'cancelled'")
    assert (await run(replica, "resolve", "5", "--as", "sent")).out == "5 is sent\n"
    assert (await run(replica, "resolve", "--as", "sent", "--lane", "webhook")).out == "1 changed\n"
    refusals = await asyncio.gather(
        *(
            run(replica, *words)
            for words in (("retry", "5"), ("show", "999"), ("cancel",), ("cancel", "1", "--lane", "x"))
        )
    )
    for refused in refusals:
        assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "has been sent" in refusals[0].err
    assert "no message 999" in refusals[1].err
    assert "say which messages" in refusals[2].err
