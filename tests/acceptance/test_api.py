"""The API of the running program: its documents, every operation as its schema says, hostile queries."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import Replica

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = 12
KEY = "the-operators-key-of-the-tests"
JSON = {"content-type": "application/json"}
ENDLESS = b'{"time": %s, "message": "x"}' % (b"9" * 4000)
HALF = b'{"deliver_at": "\\ud800"}'
HOSTILE_LIMITS = (
    *("limit=0", "limit=-1", "limit=1001", f"limit={10**9}", f"limit={10**30}", "limit=1e3", "limit="),
    *("limit=%00", "limit=1&limit=x", "limit=NaN", "limit=%F0%9F%92%A9"),
)
HOSTILE_PAGES = (
    *("offset=-1", f"offset={10**9}", "cursor=%00", "cursor=" + "A" * 201, "cursor=" + "A" * 5000),
    *("cursor=%2e%2e", "cursor=WzEsIngiXQ", "cursor=WzFd", "status=lost", "status=%00"),
    *("lane=" + "x" * 65, "lane=%00", "lane="),
    *("recipient=", "recipient=%00", "recipient=a%00", "recipient=" + "x" * 321, "recipient=+1"),
    *(
        "since=yesterday",
        "since=2026-01-01",
        "since=%00",
        "until=2026-01-01T00:00:00",
        "since=1e400",
        "until=0.5",
        "until=20261224",
    ),
    *("since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00"),
)


@pytest.fixture
async def replica(cluster: Cluster, receiver: Receiver) -> Replica:
    """With messages in most states, and ticks."""
    receiver.answer = lambda arrival: Answer(404 if arrival.content == "bad" else 202)
    await cluster.configure(scheduler_interval=0.2, rate_limit=10, webhook_url=receiver.url)
    await cluster.insert(5)
    await cluster.insert(2, content="bad")
    (replica,) = await cluster.start(1)
    await cluster.reaches(sent=5, failed=2, seconds=10)
    return replica


async def test_the_documents_are_there(replica: Replica) -> None:
    docs = await replica.get("/docs")
    assert docs.status_code == 200
    assert "swagger" in docs.text.lower()
    swagger = await replica.get("/swagger/index.html")
    assert (swagger.status_code, swagger.headers["location"]) == (307, "/docs")
    schema = (await replica.get("/openapi.json")).json()
    assert {
        *("/start", "/stop", "/sent", "/health", "/messages", "/sent-messages"),
        *("/process_message", "/worker-pool/state", "/ticks"),
        *("/messages/{message_id}", "/messages/{message_id}/retry", "/messages/{message_id}/resolve"),
        *("/messages/retry", "/messages/resolve", "/messages/move", "/echoAtTime"),
    } <= set(schema["paths"])
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), f"{method} {path}"


async def test_every_operation_answers_as_its_schema_says(replica: Replica) -> None:
    phases = ("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES))
    # No schema can say which texts are cursors that the service handed out.
    await examine(
        replica, *phases, "--exclude-checks", "positive_data_acceptance", "--exclude-path-regex", "^/api/v1"
    )
    assert not [line for line in replica.log() if line["log.level"] == "error"]


async def test_every_operation_of_chat_answers_as_its_schema_says(cluster: Cluster) -> None:
    (replica,) = await cluster.start(1, APP_API_KEY=KEY, APP_TOKEN_SECRET="s" * 32)
    as_alice = {"X-API-Key": KEY, "X-Act-As": "alice"}
    assert (await replica.post("/api/v1/users", headers=as_alice, json={})).status_code == 201
    given = [option for name, value in as_alice.items() for option in ("--header", f"{name}: {value}")]
    # It sends the key along while it tries other proofs; tests/integration/test_chat_access.py does without.
    unfit = ("--exclude-checks", "positive_data_acceptance,ignored_auth")
    await examine(replica, "--phases", "coverage", *unfit, "--include-path-regex", "^/api/v1", *given)
    assert not [line for line in replica.log() if line["log.level"] == "error"]


async def examine(replica: Replica, *options: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(SCHEMATHESIS), "--no-color", "run", f"http://127.0.0.1:{replica.port}/openapi.json"),
        *("--checks", "all", *options),
        *("--seed", "1", "--generation-database", "none"),
        cwd=replica.folder,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "PYTHONPATH": str(Path(__file__).parent),
        },
        stdout=PIPE,
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6000:]
    assert replica.runs


async def test_hostile_requests_are_answered_with_problems(replica: Replica) -> None:
    lists = ("/sent", "/messages", "/sent-messages", "/ticks")
    queries = [f"{path}?{query}" for path in lists for query in HOSTILE_LIMITS]
    queries += [f"/messages?{query}" for query in HOSTILE_PAGES]
    queries += ["/process_message?command=explode", "/process_message"]
    answers = [(query, await replica.get(query), 422) for query in queries]
    answers += [
        ("unknown path", await replica.get("/nowhere"), 404),
        ("unknown method", await replica.post("/sent"), 405),
        ("no JSON", await replica.put("/worker-pool/state", content=b"{"), 422),
        ("deep JSON", await replica.put("/worker-pool/state", content=b"[" * 60_000), 422),
        ("too much", await replica.put("/worker-pool/state", content=b" " * 70_000), 413),
        ("no message", await replica.post("/messages", json={}), 422),
        ("no messages", await replica.post("/messages", json=[]), 422),
        ("deep messages", await replica.post("/messages", content=b"[" * 60_000, headers=JSON), 422),
        ("no echo", await replica.post("/echoAtTime", json={}), 422),
        ("deep echo", await replica.post("/echoAtTime", content=b"[" * 60_000, headers=JSON), 422),
        ("an endless number", await replica.post("/echoAtTime", content=ENDLESS, headers=JSON), 422),
        ("half a character", await replica.patch("/messages/1", content=HALF, headers=JSON), 422),
        ("no number", await replica.patch("/messages/1", content=b'{"deliver_at": NaN}', headers=JSON), 422),
        (
            "an echo of many bytes",
            await replica.post("/echoAtTime", content=b" " * 65_537, headers=JSON),
            413,
        ),
        ("a form", await replica.post("/messages", data={"to": "+90"}), 415),
        ("too many bytes", await replica.post("/messages", content=b" " * 16_777_217, headers=JSON), 413),
        ("no text", await replica.put("/worker-pool/state", content=b'{"\xff', headers=JSON), 400),
    ]
    assert (await replica.put("/messages")).headers["allow"] == "DELETE, GET, POST"
    for what, answer, status in answers:
        assert answer.status_code == status, what
        assert answer.headers["content-type"] == "application/problem+json", what
        assert answer.json()["status"] == status
        if "limit=" in what:
            assert "limit" in answer.json()["detail"], what


async def test_a_method_that_is_not_there_hears_of_all_that_are(replica: Replica) -> None:
    answer = await replica.put("/messages/1")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PATCH")
    assert (await replica.get("/messages/retry")).headers["allow"] == "POST"
    assert (await replica.get("/messages/move")).headers["allow"] == "POST"


async def test_pages_follow_each_other_without_gap_or_repeat(cluster: Cluster, replica: Replica) -> None:
    await cluster.insert(18)
    await cluster.reaches(sent=23, failed=2, seconds=10)
    seen: list[int] = []
    answer = await replica.get("/sent", params={"limit": 5})
    while True:
        seen += [message["id"] for message in answer.json()]
        if "next" not in answer.links:
            break
        answer = await replica.get(answer.links["next"]["url"])
    by_offset = [
        message["id"]
        for offset in range(0, 25, 5)
        for message in (await replica.get("/sent", params={"limit": 5, "offset": offset})).json()
    ]
    assert len(seen) == len(set(seen)) == 23
    assert seen == by_offset
