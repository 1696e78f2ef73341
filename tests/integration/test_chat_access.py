"""Who may do what: every route of the service, by its own table, times everybody who may come.

A route that is added without a line here fails the test, and so does one that answers without asking who it is.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from tests.conftest import administer, database_url
from tests.integration.chatting import KEY, OPERATOR, SECRET, Replica, of, running_replicas, token

from dispatcher.app import OPEN
from dispatcher.chat.live.endpoint import PATHS as SOCKET_PATHS
from dispatcher.chat.routes import PREFIX
from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.clock import utc_now

FORMER, STRANGER, MEMBER, OWNER = "former", "stranger", "member", "owner"
PERSONAS = (STRANGER, FORMER, MEMBER, OWNER)
NOBODIES: dict[str, dict[str, str]] = {
    "none": {},
    "expired": {"Authorization": f"Bearer {token(OWNER, seconds=-3600)}"},
    "forged": {"Authorization": f"Bearer {token(OWNER, secret='another secret, of more than 32 bytes too')}"},
    "unsigned": {"Authorization": f"Bearer {jwt.encode({'sub': OWNER, 'exp': 2**40}, '', 'none')}"},
    "no end": {"Authorization": f"Bearer {jwt.encode({'sub': OWNER}, SECRET, 'HS256')}"},
    "no user": {"Authorization": f"Bearer {token('no user/at all')}"},
    "not a token": {"Authorization": "Bearer x.y.z"},
    "not a bearer": {"Authorization": f"Basic {token(OWNER)}"},
    "wrong key": {"X-API-Key": KEY + "x", "X-Act-As": OWNER},
    "half a key": {"X-API-Key": KEY[:-1], "X-Act-As": OWNER},
    "no key": {"X-Act-As": OWNER},
}


@dataclass(frozen=True)
class Line:
    """A route, a good request to it, and what each of PERSONAS gets, in this order: the less one may, the earlier."""

    statuses: tuple[int, int, int, int]
    body: Any = None
    query: str = ""


GONE, LEFT, NO = 404, 403, 403
"""To strangers a thing is not there; who was a member knows that it is, and may not."""
TABLE = {
    "POST /messages": Line((GONE, LEFT, 201, 201), {"group_id": "{group}", "content": "hello"}),
    "GET /messages": Line((GONE, LEFT, 200, 200), query="?group={group}"),
    "GET /conversations": Line((200, 200, 200, 200)),
    "GET /conversations/{conversation_id}": Line((GONE, LEFT, 200, 200)),
    "PATCH /conversations/{conversation_id}": Line((GONE, LEFT, 200, 200), {"muted": True}),
    "POST /conversations/{conversation_id}/delivered": Line((GONE, LEFT, 200, 200), {"seq": 1}),
    "POST /conversations/{conversation_id}/read": Line((GONE, LEFT, 200, 200), {"seq": 1}),
    "GET /conversations/{conversation_id}/messages/{message_id}": Line((GONE, LEFT, 200, 200)),
    "GET /conversations/{conversation_id}/messages/{message_id}/receipts": Line((GONE, LEFT, 200, 200)),
    "PATCH /conversations/{conversation_id}/messages/{message_id}": Line(
        (GONE, LEFT, 200, NO), {"content": "better"}
    ),
    "DELETE /conversations/{conversation_id}/messages/{message_id}": Line((GONE, LEFT, 200, NO)),
    "GET /conversations/{conversation_id}/scheduled": Line((GONE, LEFT, 200, 200)),
    "DELETE /conversations/{conversation_id}/scheduled/{scheduled_id}": Line((GONE, LEFT, 204, GONE)),
    "POST /groups": Line((201, 201, 201, 201), {"name": "another", "members": [MEMBER]}),
    "GET /groups": Line((200, 200, 200, 200)),
    "GET /groups/{group_id}": Line((GONE, LEFT, 200, 200)),
    "PATCH /groups/{group_id}": Line((GONE, LEFT, NO, 200), {"name": "better"}),
    "DELETE /groups/{group_id}": Line((GONE, LEFT, NO, 204)),
    "GET /groups/{group_id}/members": Line((GONE, LEFT, 200, 200)),
    "POST /groups/{group_id}/members": Line((GONE, LEFT, NO, 201), {"user_id": STRANGER}),
    "PATCH /groups/{group_id}/members/{user_id}": Line((GONE, LEFT, NO, 200), {"role": "admin"}),
    "DELETE /groups/{group_id}/members/{user_id}": Line((GONE, LEFT, NO, 204)),
    "POST /users": Line((200, 200, 200, 200), {}),
    "GET /users": Line((NO, NO, NO, NO)),
    "GET /users/{user_id}": Line((GONE, GONE, 200, 200)),
    "PATCH /users/{user_id}": Line((NO, NO, NO, NO), {"name": "Somebody"}),
    "DELETE /users/{user_id}": Line((NO, NO, NO, NO)),
}
"""The message, and the one for later, are the member's; the user in a path is another member."""


@pytest.fixture(scope="module")
async def replica(servers: RunningServers, template: str) -> AsyncIterator[Replica]:
    name = f"chat_access_{uuid4().hex[:12]}"
    await administer(servers, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    at = servers.addresses
    assert at.redis_addr is not None
    assert at.etcd_endpoints is not None
    async with running_replicas(
        1, db_url=database_url(servers, name), redis_url=at.redis_addr, etcd=at.etcd_endpoints
    ) as (one,):
        for user_id in PERSONAS:
            await one.ok("POST", "/api/v1/users", user_id, json={})
        yield one
    await administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    for route in iter_route_contexts(app.routes):
        assert route.path is not None, f"a route that this test knows nothing of: {route}"
        for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
            yield method, route.path


async def world(replica: Replica) -> dict[str, str]:
    """A group of owner, member and a user of this test alone, which former has left, with a message of member's."""
    second = f"second-{uuid4().hex[:12]}"
    await replica.ok("POST", "/api/v1/users", second, json={})
    group = await replica.ok(
        "POST", "/api/v1/groups", OWNER, json={"name": "all", "members": [MEMBER, FORMER, second]}
    )
    await replica.ok("DELETE", f"/api/v1/groups/{group['id']}/members/{FORMER}", FORMER)
    message = {"group_id": group["id"], "content": "hi"}
    sent = await replica.ok("POST", "/api/v1/messages", MEMBER, json=message)
    later = message | {"timestamp": (utc_now() + timedelta(hours=1)).isoformat()}
    scheduled = await replica.ok("POST", "/api/v1/messages", MEMBER, json=later)
    return {
        "group": str(group["id"]),
        "group_id": str(group["id"]),
        "conversation_id": str(group["id"]),
        "message_id": sent["id"],
        "scheduled_id": str(scheduled["scheduled_id"]),
        "user_id": second,
    }


async def request(
    replica: Replica, route: str, line: Line, names: dict[str, str], headers: dict[str, str]
) -> httpx2.Response:
    method, path = route.split(" ")
    body = line.body and {
        key: int(value.format(**names)) if value == "{group}" else value for key, value in line.body.items()
    }
    url = f"{PREFIX}{path.format(**names)}{line.query.format(**names)}"
    return await replica.client.request(method, url, headers=headers, json=body)


def test_every_route_of_chat_has_its_line(replica: Replica) -> None:
    found = {
        f"{method} {path.removeprefix(PREFIX)}"
        for method, path in routes(replica.app)
        if path.startswith(PREFIX)
    }
    assert found == set(TABLE)


@pytest.mark.parametrize("route", TABLE)
async def test_a_user_does_what_is_theirs_and_nothing_else(replica: Replica, route: str) -> None:
    line, names = TABLE[route], await world(replica)
    for who, headers in NOBODIES.items():
        answer = await request(replica, route, line, names, headers)
        assert answer.status_code == 401, (who, answer.text)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert token(OWNER).split(".")[1] not in answer.text
    for who, status in zip(PERSONAS, line.statuses, strict=True):
        answer = await request(replica, route, line, names, of(who))
        assert answer.status_code == status, (who, answer.text)


@pytest.mark.parametrize("route", TABLE)
async def test_the_operator_may_do_what_the_user_may_for_whom_he_acts(replica: Replica, route: str) -> None:
    line, names = TABLE[route], await world(replica)
    for who, status in zip(PERSONAS, line.statuses, strict=True):
        if route == "GET /users":
            status = 200  # noqa: PLW2901 - for the operator alone
        answer = await request(replica, route, line, names, OPERATOR | {"X-Act-As": who})
        assert answer.status_code == status, (who, answer.text)
    both = await request(replica, route, line, names, of(MEMBER) | {"X-Act-As": OWNER})
    assert both.status_code == 403, "a token is for one user"


async def test_every_other_route_wants_the_operators_key(replica: Replica) -> None:
    others = [(method, path) for method, path in routes(replica.app) if not path.startswith(PREFIX)]
    assert {("POST", "/stop"), ("POST", "/start"), ("GET", "/messages"), ("POST", "/messages")} <= set(others)
    for method, path in others:
        url = path.replace("{message_id:id}", "1").split("{")[0]
        for headers in (*NOBODIES.values(), of(OWNER)):
            answer = await replica.client.request(method, url, headers=headers)
            if path in (
                *OPEN,
                *SOCKET_PATHS,
                "/docs/oauth2-redirect",
            ):  # a socket is asked for its token by hello
                continue
            assert answer.status_code == 401, (method, path)
        for name in ("X-API-Key", "Authorization"):
            headers = {name: KEY if name == "X-API-Key" else f"Bearer {KEY}"}
            answer = await replica.client.request(method, url, headers=headers)
            assert answer.status_code not in {401, 403}, (method, path)
    for path in (*OPEN, "/nowhere", "/api/v2", "/api"):
        answer = await replica.client.get(path)
        assert (answer.status_code == 401) is (path not in OPEN), path


async def test_health_tells_strangers_what_works_and_the_operator_why(replica: Replica) -> None:
    stranger, user, operator = [
        await replica.client.get("/health", headers=headers) for headers in ({}, of(OWNER), OPERATOR)
    ]
    parts = {"postgres", "redis", "etcd", "upkeep", "console", "tokens"}
    for answer in (stranger, user):
        assert set(answer.json()) == {"status", *parts}
    whole = operator.json()
    assert set(whole) - set(stranger.json()) == {
        *("service", "version", "replica", "uptime_seconds", "scheduler", "live_config"),
    }
    # no console is connected here, and why is the operator's to know
    assert (whole["console"]["status"], stranger.json()["console"]) == (
        "down",
        {"status": "down", "problem": None},
    )
    assert whole["console"]["problem"] is not None
    assert whole["status"] == stranger.json()["status"] == "degraded"
    for answer in (stranger, user, operator):
        assert answer.status_code == 200
        assert KEY not in answer.text
        assert SECRET not in answer.text


async def test_a_user_who_left_us_has_no_seat_anywhere(replica: Replica) -> None:
    for user_id in ("ann", "ben"):
        await replica.ok("POST", "/api/v1/users", user_id, json={"name": user_id.title()})
    sent = await replica.ok("POST", "/api/v1/messages", "ann", json={"receiver_id": "ben", "content": "hi"})
    answer = {"receiver_id": "ann", "content": "hi yourself"}
    answered = await replica.ok("POST", "/api/v1/messages", "ben", json=answer)
    place = f"/api/v1/conversations/{sent['conversation_id']}"
    await replica.ok("POST", f"{place}/read", "ann", json={"seq": 2})
    group = await replica.ok("POST", "/api/v1/groups", "ann", json={"name": "g", "members": ["ben"]})
    await replica.ok("DELETE", "/api/v1/users/ann", "ann")
    assert (await replica.ask("GET", f"/api/v1/groups/{group['id']}", "ann")).status_code == 403
    again = {"receiver_id": "ben", "content": "again"}
    assert (await replica.ask("POST", "/api/v1/messages", "ann", json=again)).status_code == 403
    back = {"receiver_id": "ann", "content": "and you?"}
    assert (await replica.ask("POST", "/api/v1/messages", "ben", json=back)).status_code == 409
    assert (await replica.ask("POST", "/api/v1/users", "ann", json={})).status_code == 409
    page = await replica.ok("GET", "/api/v1/messages?with=ann", "ben")
    assert [(message["id"], message["status"]) for message in page["messages"]] == [
        (sent["id"], "sent"),
        (answered["id"], "read"),
    ]
    receipts = await replica.ok("GET", f"{place}/messages/{answered['id']}/receipts", "ben")
    assert receipts["by"] == [{"user_id": "ann", "status": "read"}]
    assert (await replica.ok("GET", f"/api/v1/groups/{group['id']}", "ben"))["role"] == "owner"
