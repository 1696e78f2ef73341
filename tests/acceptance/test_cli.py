"""The command `dispatcher` as people use it, against a service that runs."""

import asyncio
import signal
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from uuid import uuid4

import orjson
import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Receiver
from tests.acceptance.replica import COMMAND, Replica, eventually
from tests.conftest import administer, database_url

DEMO_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str


async def run(at: Replica, *arguments: str, given: bytes = b"", **environment: str) -> Result:
    """The command beside this replica: in its folder, with its environment."""
    process = await asyncio.create_subprocess_exec(
        str(COMMAND),
        *arguments,
        cwd=at.folder,
        env={**at.environment, "COLUMNS": "200", **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(DEMO_SECONDS):
        out, err = await process.communicate(given)
    assert "Traceback" not in err.decode(), err.decode()
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


async def test_send_look_and_steer(cluster: Cluster, receiver: Receiver) -> None:
    at = cluster.replica()
    secret = "hunter2-token"
    assert (await run(at, "config", "set", "webhook_auth_key", "-", given=f"{secret}\n".encode())).code == 0
    await cluster.configure(webhook_url=receiver.url, scheduler_interval=0.2)
    await at.start()

    sent = await run(at, "send", "+905551111111", "Hello \x1b[2J")
    assert (sent.code, sent.out) == (0, "1\n")
    await cluster.reaches(seconds=10, sent=1)
    table = await run(at, "sent")
    assert "+905551111111" in table.out
    assert "\x1b" not in table.out
    listed = orjson.loads((await run(at, "sent", "--json")).out)
    assert [message["id"] for message in listed] == [1]
    assert listed[0]["messageId"] in table.out

    healthy = await run(at, "status")
    assert healthy.code == 0
    assert "healthy" in healthy.out
    assert "2 messages every 0.2 s" in healthy.out
    stopped = await run(at, "stop")
    assert stopped.out.startswith("Stopped: ")
    assert stopped.out.count("\n") == 1
    assert "stopped" in (await run(at, "status")).out
    assert (await run(at, "start")).out.startswith("Started: ")

    await cluster.put("rate_limit", "abc")

    async def refused() -> bool:
        return bool((await at.health())["live_config"]["refused"])

    await eventually(refused, seconds=10, what="the value is refused")
    degraded = await run(at, "status")
    assert degraded.code == 1
    assert "rate_limit: input should be a valid integer" in degraded.out
    keys = await run(at, "config", "list")
    assert "Refused: input should be a valid integer" in keys.out
    assert "(set)" in keys.out
    assert secret not in keys.out + (await run(at, "config", "get", "webhook_auth_key")).out
    assert (await run(at, "status", "--json")).out.startswith("{")

    await at.terminate()
    gone = await run(at, "status")
    assert gone.code == 2
    assert f"http://127.0.0.1:{at.port}" in gone.err
    assert "make run" in gone.err
    assert (await run(at, "start")).code == 1


async def test_config_refuses_what_the_service_would(cluster: Cluster) -> None:
    at = cluster.replica()
    assert (await run(at, "config", "get", "rate_limit")).out == "-\n"
    assert (await run(at, "config", "set", "rate_limit", "5")).code == 0
    wrong = (
        ("rate_limt", "5", "did you mean rate_limit?"),
        ("lease_seconds", "5", "webhook_timeout (10 s) must end"),
        ("webhook_url", "ftp://x", "must begin with http"),
        ("rate_limit", "", "the value is empty"),
        ("rate_limit", "9" * 5000, "at most 4096"),
    )
    refusals = await asyncio.gather(*(run(at, "config", "set", key, value) for key, value, _ in wrong))
    for refused, (_, _, reason) in zip(refusals, wrong, strict=True):
        assert refused.code == 1
        assert reason in refused.err
        assert refused.err.count("\n") == 1
    assert (await run(at, "config", "get", "rate_limit")).out == "5\n"
    assert "no longer set" in (await run(at, "config", "unset", "rate_limit")).out
    assert "was not set" in (await run(at, "config", "unset", "rate_limit")).out
    away = await run(at, "config", "list", APP_REMOTE_ETCD_ENDPOINTS="127.0.0.1:1")
    assert away.code == 1
    assert "etcd does not answer" in away.err


async def test_send_a_file(cluster: Cluster) -> None:
    at = cluster.replica()
    rows = [f"+90555{number:07},Message {number}\n" for number in range(7_000)]
    whole = "recipient_phone,content\n" + "".join(rows)
    (at.folder / "all.csv").write_text(whole)
    sent = await run(at, "send", "--file", "all.csv")
    assert (sent.code, sent.out, sent.err) == (0, "Inserted 7,000 messages.\n", "")
    stored = await cluster.pool.fetch(
        "SELECT recipient_phone || ',' || content || E'\\n' AS row FROM messages ORDER BY id"
    )
    assert [record["row"] for record in stored] == rows

    bad = whole.replace("+905550006000,", ",").encode()
    stopped = await run(at, "send", "--file", "-", given=bad)
    assert stopped.code == 1
    assert (
        "line 6002: recipient_phone is empty; 5,000 messages were inserted, those up to line 5001"
        in stopped.err
    )
    assert await cluster.states() == {"pending": 12_000}
    skipped = await run(at, "send", "--file", "-", "--skip-bad", given=bad)
    assert (skipped.code, skipped.out) == (0, "Inserted 6,999 messages.\n")
    assert "line 6002: recipient_phone is empty" in skipped.err
    line = b'{"recipient_phone": "+90555", "content": "Hi"}\n'
    assert (await run(at, "send", "-f", "-", given=line)).out == "Inserted 1 messages.\n"
    wrong = (("-f", "no.csv"), ("-f", "all.txt"), ("+90555",), ("+90555", ""), ("+9", "x", "-f", "-"))
    for refused in await asyncio.gather(*(run(at, "send", *arguments) for arguments in wrong)):
        assert (refused.code, refused.err.count("\n")) == (1, 1)


async def test_send_ends_at_once_when_interrupted(cluster: Cluster) -> None:
    at = cluster.replica()
    process = await asyncio.create_subprocess_exec(
        str(COMMAND), "send", "-f", "-", cwd=at.folder, env=at.environment, stdin=PIPE, stderr=PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"recipient_phone,content\n" + b"+90,Hi\n" * 7000)

    async def first_batch() -> bool:
        return await cluster.states() == {"pending": 5000}

    await eventually(first_batch, seconds=20, what="the first batch is in")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        _, err = await process.communicate()
    assert process.returncode == 130
    # The interrupt can come before the answer of the insert has arrived, although its commit is seen here.
    assert err.decode() in {
        "Interrupted; 5,000 messages were inserted, those up to line 5001.\n",
        "Interrupted; nothing was inserted; whether lines 2 to 5001 are in is not known: look before you send them again.\n",
    }


async def test_migrate_and_psql(cluster: Cluster) -> None:
    name = f"empty_{uuid4().hex[:12]}"
    await administer(cluster.servers, f"CREATE DATABASE {name}")
    at = cluster.replica(APP_DB_URL=database_url(cluster.servers, name))
    try:
        unready = await run(at, "send", "+90555", "Hi")
        assert unready.code == 1
        assert "dispatcher migrate" in unready.err
        missing = await run(at, "migrate", "--check")
        assert missing.code == 1
        assert "Missing: 0001, 0002, 0003, 0004, 0005, 0006, 0007, 0008" in missing.out
        assert "Applied: 0001, 0002, 0003, 0004, 0005, 0006, 0007, 0008" in (await run(at, "migrate")).out
        assert await run(at, "migrate", "--check") == Result(0, "The database is up to date.\n", "")
        asked = await run(at, "psql", "-At", "-c", "SELECT count(*) FROM messages")
        assert (asked.code, asked.out) == (0, "0\n")
    finally:
        await administer(cluster.servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    "arguments", ["config list", "--help", "psql -c 'SELECT generate_series(1, 100000)'"]
)
async def test_a_reader_that_leaves_is_no_error(cluster: Cluster, arguments: str) -> None:
    at = cluster.replica()
    shell = await asyncio.create_subprocess_shell(
        f"{COMMAND} {arguments} | head -n 1", cwd=at.folder, env=at.environment, stdout=PIPE, stderr=PIPE
    )
    out, err = await shell.communicate()
    assert out
    assert b"Traceback" not in err


async def test_without_a_service_each_command_says_what_to_do(cluster: Cluster) -> None:
    at = cluster.replica(APP_DB_URL="", APP_REMOTE_ETCD_ENDPOINTS="")
    commands = ("send +90 Hi", "sent", "start", "migrate", "config list", "psql")
    for result in await asyncio.gather(*(run(at, *command.split()) for command in commands)):
        assert (result.code, result.err.count("\n")) == (1, 1), result
        assert "start" in result.err


async def test_the_sandbox_says_commands_that_can_be_copied(cluster: Cluster) -> None:
    at = cluster.replica(COLUMNS="40", LOG_ENV="local")
    await at.launch("serve", "--sandbox")
    await at.answers()
    told = at.log_path.read_text()
    assert (
        f"etcdctl --endpoints={cluster.etcd_endpoint} put {cluster.etcd_prefix}scheduler_interval 1\n" in told
    )
    assert f"  curl -X POST http://127.0.0.1:{at.port}/stop\n" in told
    await cluster.reaches(seconds=20, sent=2, pending=8)
    assert await at.terminate() == 0


async def test_the_demo_holds(cluster: Cluster) -> None:
    at = cluster.replica()
    told = await run(at, "demo")
    assert told.code == 0, told.out + told.err
    assert "Everything held." in told.out
    for part in ("kill -9 of A", "nothing arrived", "still in force: rate_limit 5", "0 µs"):
        assert part in told.out
