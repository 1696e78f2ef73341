"""A replica that is stopped past its lease and goes on has lost its say: it settles nothing, and sends nothing more."""

import signal
from collections.abc import Mapping
from typing import Any

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Arrival, Receiver
from tests.acceptance.replica import Replica, eventually

from dispatcher.kernel.clock import elapsed

TOTAL = 24
IN_FLIGHT = 4
ANSWER_SECONDS = 0.7
LEASE_SECONDS = 3


@pytest.mark.alone
@pytest.mark.parametrize(("policy", "end"), [("retry", "sent"), ("hold", "uncertain")])
async def test_a_replica_stopped_past_its_lease_settles_and_sends_nothing_more_of_it(
    cluster: Cluster, receiver: Receiver, policy: str, end: str
) -> None:
    # each answer is its own evidence: a row shows whose send it was settled by
    receiver.answer = lambda arrival: Answer(
        body=b'{"messageId": "%d from %b"}' % (len(receiver.arrivals), arrival.path.encode()),
        delay=ANSWER_SECONDS,
    )
    await cluster.configure(
        rate_limit=TOTAL,
        scheduler_interval=0.1,
        webhook_timeout=1,
        webhook_concurrency=IN_FLIGHT,
        lease_seconds=LEASE_SECONDS,
        on_uncertain=policy,
    )
    victim, other = named(cluster, receiver, "victim"), named(cluster, receiver, "other")
    await victim.start()
    await cluster.insert(TOTAL)
    await eventually(lambda: all_on_the_wire(cluster, receiver), seconds=15, what="the victim is at work")

    victim.send(signal.SIGSTOP)
    leased = await cluster.pool.fetch("SELECT id, leased_until FROM messages WHERE state = 'sending'")
    held = {row["id"] for row in leased}
    on_the_wire = unanswered(receiver)
    assert on_the_wire, "something was being sent"
    assert held > on_the_wire, "and something was claimed and not yet begun"
    before = len(receiver.arrivals)
    await other.start()
    await cluster.passes(max(row["leased_until"] for row in leased))
    await cluster.reaches(seconds=30, **ends(end, held))
    assert not arrivals_of(receiver, "victim", since=before), "it is stopped"

    settled = await written(cluster, held)
    assert {row["state"] for row in settled.values()} == {end}
    resumed = len(receiver.arrivals)
    victim.send(signal.SIGCONT)
    fresh = set[int]()

    async def sends_again() -> bool:
        fresh.update(await cluster.insert(1))
        return any(arrival.webhook_id in fresh for arrival in arrivals_of(receiver, "victim", since=resumed))

    await eventually(sends_again, seconds=15, what="it sends what is new")
    assert await written(cluster, held) == settled, "it settled nothing of what it had lost"
    await eventually(lambda: found_out(victim, on_the_wire), seconds=15, what="it finds its leases lost")
    await eventually(lambda: all_ended(cluster), seconds=30, what="everything ends")

    assert await written(cluster, held) == settled, "it settled nothing of what it had lost"
    late = {arrival.webhook_id for arrival in arrivals_of(receiver, "victim", since=resumed)}
    assert late <= fresh, "it sent nothing of what it had lost"
    again = {webhook_id for webhook_id, times in receiver.times.items() if times > 1}
    assert again == (on_the_wire if policy == "retry" else set())


def named(cluster: Cluster, receiver: Receiver, name: str) -> Replica:
    """A replica whose requests can be told from another's by their path."""
    replica = cluster.replica()
    replica.below_etcd(webhook_url=receiver.url.replace("/webhook", f"/{name}"))
    return replica


def unanswered(receiver: Receiver) -> set[int]:
    return {arrival.webhook_id for arrival in receiver.arrivals if arrival.answered_at is None}


def arrivals_of(receiver: Receiver, name: str, *, since: int) -> list[Arrival]:
    return [arrival for arrival in receiver.arrivals[since:] if arrival.path == f"/{name}"]


async def all_on_the_wire(cluster: Cluster, receiver: Receiver) -> bool:
    """Every worker waits for an answer that is not near, so none is between its claim and the wire."""
    waiting = [arrival for arrival in receiver.arrivals if arrival.answered_at is None]
    return (
        len(waiting) == IN_FLIGHT
        and all(0.1 < elapsed() - arrival.at < ANSWER_SECONDS - 0.2 for arrival in waiting)
        and len(await cluster.ids("sending")) > IN_FLIGHT
    )


def ends(end: str, held: set[int]) -> dict[str, int]:
    """How many messages are in which state when the other replica has done all that it can."""
    return {"sent": TOTAL} if end == "sent" else {"sent": TOTAL - len(held), end: len(held)}


async def written(cluster: Cluster, ids: set[int]) -> Mapping[int, dict[str, Any]]:
    """Everything that the database says about these messages, attempts included."""
    rows = await cluster.pool.fetch(
        """
        SELECT m.*, (SELECT array_agg(a ORDER BY number)::text FROM attempts a WHERE a.message_id = m.id) AS attempts
        FROM messages m WHERE id = ANY($1)
        """,
        list(ids),
    )
    return {row["id"]: dict(row) for row in rows}


async def found_out(victim: Replica, ids: set[int]) -> bool:
    """Whether it has said of each of them that its result came too late."""
    return ids <= {line["dispatcher"]["message_id"] for line in victim.said("settlement_too_late")}


async def all_ended(cluster: Cluster) -> bool:
    return not (await cluster.states()).keys() & {"pending", "sending"}
