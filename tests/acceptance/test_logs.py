"""Logs: in production one JSON object a line with ECS fields; correlation ids end to end; files; never a secret."""

import re
import zipfile
from pathlib import Path

from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Receiver
from tests.acceptance.replica import Replica, eventually

from dispatcher.kernel.log_names import ERRORS, EVERYTHING

AUTH_KEY = "auth-key-4f8d1c"
DB_PASSWORD = "db-password-93ab7e"
URL_TOKEN = "url-token-b51e09"


async def test_every_line_is_one_json_object_with_ecs_fields(cluster: Cluster, receiver: Receiver) -> None:
    await cluster.configure(scheduler_interval=0.2, webhook_url=receiver.url)
    await cluster.insert(3)
    replica = cluster.replica(SERVICE_NAME="billing-messages", APP_DB_ULR="a misspelt variable")
    await replica.start()
    await cluster.reaches(sent=3, seconds=10)
    await replica.get("/no-such-path")
    await replica.get("/sent", params={"limit": 0})
    await cluster.put("rate_limit", "many")  # refused: an error

    async def refused() -> bool:
        return bool(replica.said("live_value_refused"))

    await eventually(refused, seconds=5, what="the bad value is refused")
    assert await replica.terminate() == 0

    lines = replica.log()
    assert len(lines) > 5
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["@timestamp"])
        assert line["log.level"] in {"debug", "info", "warning", "error"}
        assert line["service"]["name"] == "billing-messages"
        assert line["service"]["node"]["name"] == replica.name
        assert set(line) <= {
            *("@timestamp", "log.level", "message", "ecs.version", "service", "dispatcher"),
            *("trace", "http", "url", "event", "error", "log"),
        }
    assert {"serving", "tick_done", "http_request", "stopped"} <= {line["message"] for line in lines}
    assert replica.said("unknown_variable")[0]["dispatcher"]["did_you_mean"] == "APP_DB_URL"
    assert (replica.folder / "stdout.log").read_bytes() == b""

    whole = replica.log_path.read_text()
    errors = [line for line in whole.splitlines() if '"log.level":"error"' in line]
    assert "live_value_refused" in errors[0]
    assert filed(replica, EVERYTHING) == whole
    assert filed(replica, ERRORS).splitlines() == errors


def filed(replica: Replica, stem: str) -> str:
    """What is in its log files of this kind: of two days, when midnight has just gone by."""
    paths = sorted((replica.folder / "logs").glob(f"{stem}-20*.log"))
    assert paths
    return "".join(path.read_text() for path in paths)


async def test_log_files_for_people_are_plain(cluster: Cluster, tmp_path: Path) -> None:
    logs = tmp_path / "elsewhere" / "logs"
    logs.mkdir(parents=True)
    (logs / "dispatcher-2026-01-01.log").write_text("from an earlier day\n")
    (logs / "dispatcher-2020-01-01.zip").touch()
    replica = cluster.replica(LOG_ENV="local", LOG_DIR=str(logs), LOG_RETENTION_DAYS="3650")
    await replica.start()

    async def kept() -> bool:
        return "log_files_kept" in replica.log_path.read_text()

    await eventually(kept, seconds=5, what="the past is archived")
    assert await replica.terminate() == 0
    assert not (logs / "dispatcher-2026-01-01.log").exists()
    with zipfile.ZipFile(logs / "dispatcher-2026-01-01.zip") as archive:
        assert archive.read("dispatcher-2026-01-01.log") == b"from an earlier day\n"
    lines = [line for path in sorted(logs.glob("*.log")) for line in path.read_text().splitlines()]
    pattern = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z [a-z]+ +{replica.pid} \w+( .*)?"
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert any(" serving url=http://127.0.0.1:" in line for line in lines)
    assert not (replica.folder / "logs").exists()


async def test_a_log_dir_that_cannot_be_used(cluster: Cluster) -> None:
    replica = cluster.replica()
    (replica.folder / "logs").touch()  # in the way of the default: no reason not to deliver
    await replica.start()
    assert await replica.terminate() == 0
    (failed,) = replica.said("log_files_failed")
    assert failed["dispatcher"]["directory"] == str(replica.folder / "logs")

    replica.environment["LOG_DIR"] = "logs"  # somebody insists on it
    replica.log_path.unlink()
    await replica.launch()
    assert await replica.ended() == 1
    text = replica.log_path.read_text()
    assert text.startswith("dispatcher: LOG_DIR: cannot write log files in ")
    assert "LOG_DIR=off" in text


async def test_a_correlation_id_goes_from_request_to_answer_and_log(cluster: Cluster) -> None:
    (replica,) = await cluster.start(1)
    given = await replica.get("/sent", headers={"X-Correlation-ID": "order-2342/7"})
    assert given.headers["x-correlation-id"] == "order-2342/7"
    made = await replica.get("/sent")
    assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-correlation-id"])
    forged = await replica.get("/sent", headers={"X-Correlation-ID": 'x" , "log.level": "error'})
    assert re.fullmatch(r"[0-9a-f]{32}", forged.headers["x-correlation-id"])
    refused = await replica.get("/sent", params={"limit": "x"}, headers={"X-Correlation-ID": "c-1"})
    assert refused.json()["correlation_id"] == refused.headers["x-correlation-id"] == "c-1"

    ids = [given.headers["x-correlation-id"], made.headers["x-correlation-id"], "c-1"]

    async def logged() -> bool:
        return set(ids) <= {line["trace"]["id"] for line in replica.said("http_request")}

    await eventually(logged, seconds=5, what="the requests are in the log")


async def test_a_ticks_correlation_id_goes_to_the_webhook_and_the_log(
    cluster: Cluster, receiver: Receiver
) -> None:
    receiver.answer = lambda arrival: Answer(404 if arrival.content == "bad" else 202, b"")
    await cluster.configure(scheduler_interval=0.2, webhook_url=receiver.url)
    await cluster.insert(1)
    await cluster.insert(1, content="bad")
    (replica,) = await cluster.start(1, LOG_DIR="off")
    await cluster.reaches(sent=1, failed=1, seconds=10)
    (tick_id,) = {arrival.headers["x-correlation-id"] for arrival in receiver.arrivals}

    async def logged() -> bool:
        return bool(replica.said("tick_done"))

    await eventually(logged, seconds=5, what="the tick is in the log")
    assert replica.said("tick_done")[0]["trace"]["id"] == tick_id
    assert replica.said("attempt_failed")[0]["trace"]["id"] == tick_id
    assert not {path.name for path in replica.folder.iterdir()} & {"logs", "off"}


async def test_secrets_reach_the_receiver_and_nobody_else(cluster: Cluster, receiver: Receiver) -> None:
    await cluster.configure(
        scheduler_interval=0.2,
        max_attempts=1,
        webhook_auth_key=AUTH_KEY,
        webhook_url=f"{receiver.url}?token={URL_TOKEN}",
    )
    with_password = cluster.db_url.replace("dispatcher@", f"dispatcher:{DB_PASSWORD}@")
    assert DB_PASSWORD in with_password
    await cluster.insert(1)
    replica = cluster.replica(APP_DB_URL=with_password, LOG_LEVEL="debug")
    await replica.start()
    await cluster.reaches(sent=1, seconds=10)
    assert receiver.arrivals[0].headers["x-ins-auth-key"] == AUTH_KEY

    receiver.answer = lambda _: Answer(301, b"", headers=(f"location: /elsewhere?token={URL_TOKEN}",))
    await cluster.insert(1)
    await cluster.reaches(sent=1, failed=1, seconds=10)
    await cluster.configure(webhook_auth_header="bad header", webhook_url="http://127.0.0.1:1/" + URL_TOKEN)
    await cluster.insert(1)
    await cluster.reaches(sent=1, failed=2, seconds=10)
    await cluster.put("webhook_auth_key", f"{AUTH_KEY}\x07")  # refused, and not repeated

    async def refused() -> bool:
        return "webhook_auth_key" in (await replica.health())["live_config"]["refused"]

    await eventually(refused, seconds=5, what="the bad key is refused")
    paths = ["/health", "/openapi.json", "/docs", "/scheduler", "/ticks", "/sent", "/messages?status=failed"]
    answers = [
        (await replica.get(path)).text for path in [*paths, "/sent?cursor=x", "/nowhere", "/sent?limit=x"]
    ]
    assert '"(set)"' in answers[0]
    assert await replica.terminate() == 0
    rows = await cluster.pool.fetch("SELECT last_error FROM messages UNION ALL SELECT error FROM attempts")
    seen = [
        *answers,
        replica.log_path.read_text(),
        filed(replica, EVERYTHING),
        *(row[0] or "" for row in rows),
    ]
    for secret in (AUTH_KEY, DB_PASSWORD, URL_TOKEN):
        assert not any(secret in text for text in seen), secret


async def test_a_wrong_database_address_ends_the_start_with_one_line_and_no_password(
    cluster: Cluster,
) -> None:
    replica = cluster.replica(APP_DB_URL=f"postgres://someone:{DB_PASSWORD}@127.0.0.1:1/x?sslmode=disable")
    await replica.launch()
    assert await replica.ended() == 1
    text = replica.log_path.read_text()
    assert "APP_DB_URL" in text
    assert DB_PASSWORD not in text
    assert "Traceback" not in text
