"""Chat over HTTP: what a client sees, from the first message to the last receipt."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.integration.chatting import OPERATOR, Replica, of, running_replicas
from tests.integration.rows import until_true, until_waiting

from dispatcher.app import CHAT_POOL_SIZE
from dispatcher.chat import shares
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool

USERS = ("alice", "bob", "carol")


@pytest.fixture
async def replicas(
    db_url: str, redis_url: str, etcd_endpoints: tuple[str, ...]
) -> AsyncIterator[list[Replica]]:
    async with running_replicas(2, db_url=db_url, redis_url=redis_url, etcd=etcd_endpoints) as two:
        for user_id in USERS:
            await two[0].ok("POST", "/api/v1/users", user_id, json={"name": user_id.title()})
        yield two


@pytest.fixture
def api(replicas: list[Replica]) -> Replica:
    return replicas[0]


async def test_two_users_talk(api: Replica) -> None:
    message = {"sender_id": "alice", "receiver_id": "bob", "content": "Hello Bob", "client_id": "1"}
    answer = await api.ask("POST", "/api/v1/messages", "alice", json=message)
    sent = answer.json()
    assert answer.status_code == 201
    assert (sent["seq"], sent["sender_id"], sent["receiver_id"], sent["group_id"]) == (
        1,
        "alice",
        "bob",
        None,
    )
    assert (sent["status"], sent["content"], sent["client_id"]) == ("sent", "Hello Bob", "1")
    assert abs(datetime.fromisoformat(sent["timestamp"]) - utc_now()) < timedelta(seconds=10)
    assert (await api.ok("GET", answer.headers["location"], "alice")) == sent

    (listed,) = (await api.ok("GET", "/api/v1/conversations", "bob"))["conversations"]
    assert (listed["peer_id"], listed["name"], listed["unread"], listed["kind"]) == (
        "alice",
        "Alice",
        1,
        "dm",
    )
    assert listed["last_message"]["content"] == "Hello Bob"
    place = f"/api/v1/conversations/{listed['id']}"
    seen: list[str] = []
    for step in (None, "delivered", "read"):
        if step:
            await api.ok("POST", f"{place}/{step}", "bob", json={"seq": 1})
        page = await api.ok("GET", "/api/v1/messages?with=bob", "alice")
        seen.append(page["messages"][0]["status"])
    assert seen == ["sent", "delivered", "read"]
    stale = await api.ok("POST", f"{place}/read", "bob", json={"seq": 0})
    assert stale == {"delivered_seq": 1, "read_seq": 1, "moved": False}
    high = await api.ask("POST", f"{place}/read", "bob", json={"seq": 2})
    assert (high.status_code, high.json()["detail"]) == (422, "seq: the latest message is 1")
    assert (await api.ok("GET", place, "bob"))["unread"] == 0
    receipts = await api.ok("GET", f"{place}/messages/{sent['id']}/receipts", "alice")
    assert receipts == {"members": 1, "delivered": 1, "read": 1, "by": [{"user_id": "bob", "status": "read"}]}

    edited = await api.ok("PATCH", f"{place}/messages/{sent['id']}", "alice", json={"content": "Hello, Bob"})
    assert (edited["content"], edited["status"]) == ("Hello, Bob", "read")
    assert edited["edited_at"] is not None
    gone = await api.ok("DELETE", f"{place}/messages/{sent['id']}", "alice")
    assert (gone["content"], gone["seq"]) == ("", 1)
    again = await api.ask("POST", "/api/v1/messages", "alice", json=message)
    assert (again.status_code, again.json()) == (200, gone), "the earlier one, as it is now"
    assert (await api.ok("GET", "/api/v1/messages?with=bob", "alice"))["messages"] == [gone]
    nothing: dict[str, object] = {"messages": [], "older": None, "newer": None}
    assert await api.ok("GET", "/api/v1/messages?with=carol", "alice") == nothing
    assert await api.ok("GET", "/api/v1/messages?with=nobody", "alice") == nothing


async def test_a_repeat_on_another_replica_is_the_same_message(replicas: list[Replica]) -> None:
    message = {"receiver_id": "bob", "content": "once", "client_id": "the-same"}
    answers = await asyncio.gather(
        *(replica.ask("POST", "/api/v1/messages", "alice", json=message) for replica in replicas * 5)
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1


async def test_pages_lead_to_each_other(api: Replica) -> None:
    group = await api.ok("POST", "/api/v1/groups", "alice", json={"name": "all", "members": ["bob"]})
    for number in range(7):
        await api.ok(
            "POST", "/api/v1/messages", "alice", json={"group_id": group["id"], "content": str(number)}
        )

    async def page(query: str) -> tuple[str, str | None, str | None]:
        got = await api.ok("GET", f"/api/v1/messages?group={group['id']}&limit=3{query}", "bob")
        return "".join(message["content"] for message in got["messages"]), got["older"], got["newer"]

    text, older, newer = await page("")
    assert (text, newer) == ("456", None)
    text, older, newer = await page(f"&before={older}")
    assert text == "123"
    assert (await page(f"&after={newer}"))[0] == "456"
    text, older, _ = await page(f"&before={older}")
    assert (text, older) == ("0", None)
    assert (await page("&after=0"))[0] == "012"
    everything = (await api.ok("GET", f"/api/v1/messages?group={group['id']}", "bob"))["messages"]
    assert (await page(f"&around={everything[3]['id']}"))[0] == "234"
    begins, ends = everything[2]["timestamp"], everything[5]["timestamp"]
    span = {"group": group["id"], "from": begins, "to": ends, "before": everything[4]["id"]}
    answer = await api.client.get("/api/v1/messages", params=span, headers=of("bob"))
    wanted = [
        m["id"]
        for m in everything
        if begins <= m["timestamp"] < ends and int(m["id"]) < int(everything[4]["id"])
    ]
    assert [message["id"] for message in answer.json()["messages"]] == wanted


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": "to nobody"},
        {"receiver_id": "bob"},
        {"receiver_id": "bob", "content": ""},
        {"receiver_id": "bob", "content": "x" * 4097},
        {"receiver_id": "bob", "content": "a\x00b"},
        {"receiver_id": "bob", "group_id": 1, "content": "to both"},
        {"receiver_id": "alice", "content": "to myself"},
        {"receiver_id": "b ob", "content": "x"},
        {"receiver_id": "bob", "content": "x", "client_id": ""},
        {"receiver_id": "bob", "content": "x", "client_id": "x" * 65},
        {"receiver_id": "bob", "content": "x", "client_id": "scheduled:1"},
        {"receiver_id": "bob", "content": "x", "timestamp": 12},
        {"receiver_id": "bob", "content": "x", "timestamp": "2026-01-01T00:00:00"},
        {"receiver_id": "bob", "content": "x", "timestamp": "2226-01-01T00:00:00Z"},
        {"receiver_id": "bob", "content": "x", "priority": "high"},
        {"group_id": 0, "content": "x"},
        {"group_id": 2**63, "content": "x"},
    ],
    ids=str,
)
async def test_what_cannot_be_sent(api: Replica, body: dict[str, Any]) -> None:
    answer = await api.ask("POST", "/api/v1/messages", "alice", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "with=bob&group=1",
        "with=bob&before=1&after=2",
        "with=bob&limit=0",
        "with=bob&limit=101",
        "with=bob&from=yesterday",
        "with=bob&before=x",
        "with=bob&before=-1",
        f"with=bob&after={2**63}",
        "with=bob&x=1",
        "with=alice",
    ],
)
async def test_what_cannot_be_asked(api: Replica, query: str) -> None:
    assert (await api.ask("GET", f"/api/v1/messages?{query}", "alice")).status_code == 422


async def test_the_operator_acts_for_users(api: Replica) -> None:
    async def operate(
        method: str, path: str, *, act_as: str | None = None, **options: Any
    ) -> httpx2.Response:
        headers = OPERATOR | ({"X-Act-As": act_as} if act_as else {})
        return await api.client.request(method, f"/api/v1{path}", headers=headers, **options)

    assert (await operate("POST", "/users", json={"id": "dan", "name": "Dan"})).status_code == 201
    assert (await operate("POST", "/users", json={"id": "dan"})).status_code == 200
    assert [user["id"] for user in (await operate("GET", "/users")).json()] == [*USERS, "dan"]
    assert [user["id"] for user in (await operate("GET", "/users?after=bob&limit=1")).json()] == ["carol"]
    assert (await operate("PATCH", "/users/dan", json={"name": None})).json()["name"] is None
    sent = await operate(
        "POST", "/messages", json={"sender_id": "dan", "receiver_id": "alice", "content": "hi"}
    )
    assert (sent.status_code, sent.json()["sender_id"]) == (201, "dan")
    assert (await operate("GET", "/messages?with=dan", act_as="alice")).json()["messages"][0][
        "id"
    ] == sent.json()["id"]
    unsaid = await operate("POST", "/messages", json={"receiver_id": "alice", "content": "hi"})
    assert (unsaid.status_code, "X-Act-As" in unsaid.json()["detail"]) == (422, True)
    assert (await operate("GET", "/conversations")).status_code == 422
    assert (await operate("GET", "/conversations", act_as="no one")).status_code == 422
    other = {"sender_id": "dan", "receiver_id": "bob", "content": "hi"}
    assert (await operate("POST", "/messages", act_as="alice", json=other)).status_code == 403
    assert (await operate("DELETE", "/users/dan")).status_code == 204
    assert (await operate("GET", "/users/dan")).status_code == 404


async def test_without_keys_and_tokens_everybody_is_the_operator(
    db_url: str, redis_url: str, etcd_endpoints: tuple[str, ...]
) -> None:
    """Which is for one's own machine: the service then listens on loopback only."""
    where = {"db_url": db_url, "redis_url": redis_url, "etcd": etcd_endpoints}
    async with running_replicas(1, **where, APP_API_KEY=None, APP_TOKEN_SECRET=None) as (one,):  # type: ignore[arg-type]
        ann = {"X-Act-As": "ann"}
        assert (await one.client.post("/api/v1/users", headers=ann, json={})).status_code == 201
        assert (await one.client.get("/api/v1/conversations", headers=ann)).status_code == 200
        assert (await one.client.get("/api/v1/conversations", headers=of("ann"))).status_code == 401
        assert (await one.client.get("/scheduler")).status_code == 200
        # but for web pages of others, which a browser on the same machine looks at
        rebound, elsewhere = {"host": "pages.example"}, {"sec-fetch-site": "cross-site"}
        for headers, status in ((rebound, 421), (elsewhere, 403)):
            for method, path in (("POST", "/stop"), ("GET", "/sent"), ("GET", "/api/v1/conversations")):
                answer = await one.client.request(method, path, headers=ann | headers)
                assert (answer.status_code, "APP_API_KEY" in answer.json()["detail"]) == (status, True)
        assert (await one.client.get("/docs", headers=elsewhere)).status_code == 200, "a link may lead there"
        assert (await one.client.get("/docs", headers=rebound)).status_code == 421
        for host in ("localhost:8080", "127.0.0.1", "[::1]:80", "LOCALHOST"):
            assert (await one.client.get("/sent", headers={"host": host})).status_code == 200
        for site in ("same-origin", "same-site", "none"):
            assert (await one.client.get("/sent", headers={"sec-fetch-site": site})).status_code == 200
    async with running_replicas(1, **where, APP_API_KEY=None, APP_TRUSTED_NETWORK=True) as (one,):  # type: ignore[arg-type]
        assert (await one.client.get("/sent", headers=rebound)).status_code == 200, "under any name"
        assert (await one.client.get("/sent", headers=elsewhere)).status_code == 403
    async with running_replicas(1, **where, APP_API_KEY=None) as (one,):  # type: ignore[arg-type]
        assert (await one.client.get("/api/v1/conversations", headers={"X-Act-As": "ann"})).status_code == 401
        assert (await one.client.get("/api/v1/conversations", headers=of("ann"))).status_code == 200
        assert (await one.client.get("/scheduler")).status_code == 200


async def test_a_user_sends_no_more_than_their_share(api: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "MESSAGES_AT_ONCE", 3)
    monkeypatch.setattr(shares, "MESSAGES_PER_SECOND", 0.001)
    message = {"receiver_id": "bob", "content": "spam"}
    answers = [await api.ask("POST", "/api/v1/messages", "alice", json=message) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
    assert (answers[3].headers["retry-after"], answers[3].json()["status"]) == ("1", 429)
    await api.ok("POST", "/api/v1/messages", "bob", json=message | {"receiver_id": "alice"})
    acting = OPERATOR | {"X-Act-As": "alice"}
    assert (await api.client.post("/api/v1/messages", headers=acting, json=message)).status_code == 201


async def test_who_reads_holds_up_nobody_who_sends(api: Replica, pool: Pool) -> None:
    sent = await api.ok("POST", "/api/v1/messages", "alice", json={"receiver_id": "bob", "content": "1"})
    async with pool.acquire() as connection, asyncio.TaskGroup() as reading, connection.transaction():
        await connection.execute("LOCK TABLE users")
        for _ in range(CHAT_POOL_SIZE + 1):
            reading.create_task(api.client.get("/api/v1/users", headers=OPERATOR))
        await until_waiting(pool, CHAT_POOL_SIZE)
        message = {"conversation_id": sent["conversation_id"], "content": "2"}
        assert (await api.ok("POST", "/api/v1/messages", "alice", json=message))["seq"] == 2


async def test_a_message_for_later_is_sent_at_its_time_and_once(replicas: list[Replica]) -> None:
    at = utc_now() + timedelta(seconds=2)
    body = {"receiver_id": "bob", "content": "Happy birthday", "client_id": "b", "timestamp": at.isoformat()}
    answers = [await replica.ask("POST", "/api/v1/messages", "alice", json=body) for replica in replicas]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert (answers[0].json()["status"], answers[0].json()["content"]) == ("scheduled", "Happy birthday")
    too_far = body | {"timestamp": (utc_now() + timedelta(days=4000)).isoformat()}
    assert (await replicas[0].ask("POST", "/api/v1/messages", "alice", json=too_far)).status_code == 422

    async def came() -> bool:
        return bool((await replicas[0].ok("GET", "/api/v1/messages?with=alice", "bob"))["messages"])

    assert not await came()
    await until_true(came)
    (message,) = (await replicas[1].ok("GET", "/api/v1/messages?with=alice", "bob"))["messages"]
    assert timedelta(0) <= datetime.fromisoformat(message["timestamp"]) - at < timedelta(seconds=2)
    assert message["sender_id"] == "alice"
    again = [await replica.ask("POST", "/api/v1/messages", "alice", json=body) for replica in replicas]
    assert [(answer.status_code, answer.json()["id"]) for answer in again] == [(200, message["id"])] * 2
    assert len((await replicas[0].ok("GET", "/api/v1/messages?with=alice", "bob"))["messages"]) == 1


async def test_a_repeat_whose_time_has_come_sends_no_second_message(api: Replica) -> None:
    at = utc_now() + timedelta(hours=1)
    body = {"receiver_id": "bob", "content": "later", "client_id": "b", "timestamp": at.isoformat()}
    first = (await api.ask("POST", "/api/v1/messages", "alice", json=body)).json()
    late = body | {"content": "other words", "timestamp": (utc_now() - timedelta(seconds=1)).isoformat()}
    again = await api.ask("POST", "/api/v1/messages", "alice", json=late)
    assert (again.status_code, again.json()) == (202, first), "as it was first asked for"
    place = f"/api/v1/conversations/{first['conversation_id']}/scheduled/{first['scheduled_id']}"
    await api.ok("DELETE", place, "alice")
    again = await api.ask("POST", "/api/v1/messages", "alice", json=late)
    assert (again.status_code, again.json()) == (200, first | {"status": "cancelled"})
    assert (await api.ok("GET", "/api/v1/messages?with=bob", "alice"))["messages"] == []
    another = await api.ask("POST", "/api/v1/messages", "alice", json=late | {"client_id": "c"})
    assert another.status_code == 201
