"""Members who do not acknowledge are called, and messages for later are sent: once each, whoever is killed meanwhile."""

from datetime import datetime, timedelta
from typing import Any

from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import Replica, eventually

AFTER = 0.6


async def add_users(replica: Replica, *user_ids: str) -> None:
    for user_id in user_ids:
        answer = await replica.post("/api/v1/users", json={"id": user_id})
        assert answer.is_success, answer.text


async def say(replica: Replica, sender: str, receiver: str, content: str = "hello", **more: Any) -> Any:
    message = {"sender_id": sender, "receiver_id": receiver, "content": content, **more}
    answer = await replica.post("/api/v1/messages", json=message)
    assert answer.is_success, answer.text
    return answer.json()


async def acknowledge(replica: Replica, user_id: str, conversation_id: int, seq: int) -> None:
    answer = await replica.post(
        f"/api/v1/conversations/{conversation_id}/delivered",
        json={"seq": seq},
        headers={"X-Act-As": user_id},
    )
    assert answer.is_success, answer.text


async def contents(replica: Replica, one: str, other: str) -> list[str]:
    answer = await replica.get("/api/v1/messages", params={"with": other}, headers={"X-Act-As": one})
    assert answer.is_success, answer.text
    return [message["content"] for message in answer.json()["messages"]]


async def nothing_left_to_look_at(cluster: Cluster) -> None:
    async def looked_at() -> bool:
        return not await cluster.pool.fetchval("SELECT EXISTS (SELECT FROM chat_push_due)")

    await eventually(looked_at, seconds=10, what="every conversation was looked at")


async def called(receiver: Receiver, count: int) -> list[str]:
    async def so_many() -> bool:
        return len(receiver.arrivals) >= count

    await eventually(so_many, seconds=10, what=f"{count} calls")
    return [arrival.to for arrival in receiver.arrivals]


async def test_who_does_not_acknowledge_is_called_once_by_any_of_two_replicas(
    cluster: Cluster, receiver: Receiver
) -> None:
    one, other = await cluster.start(2)
    await add_users(one, "alice", "bob", "carol")
    dm = (await say(one, "alice", "bob"))["conversation_id"]
    assert await cluster.pool.fetchval("SELECT count(*) FROM chat_push_due") == 0, "nobody is called yet"
    blocked = (await one.get("/scheduler", params={"lane": "push"})).json()["blocked"]
    assert blocked == "push_webhook_url is not set: nobody is called"
    assert (await one.health())["status"] == "healthy"
    await cluster.configure(
        push_webhook_auth_key="s3cret", push_after=AFTER, push_webhook_url=receiver.url + "?token=t"
    )
    await both_push(one, other)
    began = await cluster.now()
    for number in range(4):
        await say((one, other)[number % 2], "alice", "bob", f"message {number}")
    quick = await say(one, "alice", "carol")
    await acknowledge(other, "carol", quick["conversation_id"], 1)
    assert await called(receiver, 1) == ["bob"]
    took = (await cluster.now() - began).total_seconds()
    assert took >= AFTER
    await nothing_left_to_look_at(cluster)
    await cluster.reaches(seconds=10, sent=1)
    (arrival,) = receiver.arrivals
    assert arrival.headers["x-ins-auth-key"] == "s3cret"
    assert arrival.content.startswith("message ")
    await acknowledge(other, "bob", dm, 5)
    await say(one, "bob", "alice", "here I am")
    assert await called(receiver, 2) == ["bob", "alice"]


async def both_push(one: Replica, other: Replica) -> None:
    """Wait until both know the address. Their health tells where it is, and no secret."""

    async def known() -> bool:
        live = [(await replica.health())["live_config"]["values"] for replica in (one, other)]
        assert not any(secret in str(live) for secret in ("token", "s3cret"))
        return all(values["push_webhook_url"] and values["push_after"] == AFTER for values in live)

    await eventually(known, seconds=10, what="both know the address")


async def test_a_call_outlives_the_replica_that_was_making_it(cluster: Cluster, receiver: Receiver) -> None:
    await cluster.configure(push_after=AFTER, push_webhook_url=receiver.url)
    receiver.answer = lambda _: Answer(ending="hang" if len(receiver.arrivals) == 1 else "keep")
    one, other = cluster.replica(), cluster.replica()
    await one.start()
    await add_users(one, "alice", "bob", "carol")
    await say(one, "alice", "bob")
    await called(receiver, 1)
    await say(one, "alice", "carol")
    await one.kill()
    await cluster.pool.execute("UPDATE messages_sending SET leased_until = now()")  # what time would do
    await other.start()
    await cluster.reaches(seconds=60, sent=2)
    await nothing_left_to_look_at(cluster)
    to_bob, to_carol = await cluster.ids("sent")
    assert receiver.times == {to_bob: 2, to_carol: 1}, "the same id again, and no further call"
    assert {arrival.to for arrival in receiver.arrivals} == {"bob", "carol"}


async def test_a_message_for_later_is_sent_at_its_time_unless_called_off(cluster: Cluster) -> None:
    one, other = await cluster.start(2)
    await add_users(one, "alice", "bob")
    due = await cluster.now() + timedelta(seconds=5)
    later = await say(one, "alice", "bob", "later", timestamp=due.isoformat(), client_id="c-1")
    again = await say(other, "alice", "bob", "later", timestamp=due.isoformat(), client_id="c-1")
    assert again["scheduled_id"] == later["scheduled_id"], "a repeat is the same message"
    off = await say(one, "alice", "bob", "never", timestamp=due.isoformat())
    path = f"/api/v1/conversations/{later['conversation_id']}/scheduled"
    waiting = (await other.get(path, headers={"X-Act-As": "alice"})).json()["scheduled"]
    assert [message["content"] for message in waiting] == ["later", "never"]
    assert (await other.get(path, headers={"X-Act-As": "bob"})).json() == {"scheduled": []}
    theirs = await other.delete(f"{path}/{off['scheduled_id']}", headers={"X-Act-As": "bob"})
    assert theirs.status_code == 404
    for _ in range(2):
        gone = await other.delete(f"{path}/{off['scheduled_id']}", headers={"X-Act-As": "alice"})
        assert gone.status_code == 204
    assert await contents(one, "bob", "alice") == []
    message = await only_message(other, "later")
    late = datetime.fromisoformat(message["timestamp"]) - due
    assert timedelta(milliseconds=-1) <= late < timedelta(seconds=1)
    await cluster.reaches(seconds=5, sent=1, cancelled=1)
    too_late = await one.delete(f"{path}/{later['scheduled_id']}", headers={"X-Act-As": "alice"})
    assert too_late.status_code == 409
    assert await contents(one, "bob", "alice") == ["later"]


async def test_a_message_for_later_is_sent_once_through_a_kill(cluster: Cluster) -> None:
    one, other = cluster.replica(), cluster.replica()
    await one.start()
    await add_users(one, "alice", "bob")
    due = await cluster.now() + timedelta(seconds=1.2)
    await say(one, "alice", "bob", "later", timestamp=due.isoformat())

    async def held() -> bool:
        return bool(await cluster.ids("sending"))

    await eventually(held, seconds=5, what="it is held until its time")
    await one.kill()
    await cluster.pool.execute("UPDATE messages_sending SET leased_until = now()")  # what time would do
    await other.start()
    await only_message(other, "later")
    await cluster.reaches(seconds=5, sent=1)
    assert await contents(other, "bob", "alice") == ["later"]


async def only_message(replica: Replica, content: str) -> Any:
    async def there() -> bool:
        return await contents(replica, "bob", "alice") == [content]

    await eventually(there, seconds=60, what="the message is sent")
    answer = await replica.get("/api/v1/messages", params={"with": "alice"}, headers={"X-Act-As": "bob"})
    (message,) = answer.json()["messages"]
    return message
