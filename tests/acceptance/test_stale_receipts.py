"""Receipts in Redis outlive a database that is made anew: they say nothing about its messages of the same ids."""

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import eventually


@pytest.mark.parametrize(("policy", "state"), [("hold", "uncertain"), ("retry", "sent")])
async def test_a_receipt_of_another_message_of_that_id_settles_nothing(
    cluster: Cluster, receiver: Receiver, policy: str, state: str
) -> None:
    receiver.answer = lambda arrival: Answer(ending="hang") if arrival.content == "new" else Answer()
    await cluster.configure(
        scheduler_interval=0.1,
        webhook_timeout=1,
        lease_seconds=3,
        on_uncertain=policy,
        webhook_url=receiver.url,
    )
    (replica,) = await cluster.start(1)
    old = await cluster.insert(2, content="old")
    await cluster.reaches(sent=2, seconds=10)
    await cluster.pool.execute("TRUNCATE messages, attempts RESTART IDENTITY")
    new = await cluster.insert(2, content="new")
    assert new == old

    async def in_flight() -> bool:
        return sum(arrival.content == "new" for arrival in receiver.arrivals) == 2

    await eventually(in_flight, seconds=10, what="the new ones are being sent")
    await replica.kill()
    assert await cluster.states() == {"sending": 2}
    receiver.answer = lambda _: Answer()
    await replica.start()
    await cluster.reaches(seconds=15, **{state: 2})
    assert set(receiver.times.values()) == {2 if policy == "hold" else 3}
