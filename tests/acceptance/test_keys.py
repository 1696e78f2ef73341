"""The operator's key in the running program: it does not start unguarded, and its own commands have the key."""

import json

from tests.acceptance.cluster import Cluster

KEYS = {"APP_API_KEY": "the-operators-key-of-the-tests", "APP_TOKEN_SECRET": "s" * 32}


async def test_an_unguarded_service_does_not_start(cluster: Cluster) -> None:
    replica = cluster.replica(APP_HOST="0.0.0.0")
    await replica.launch()
    assert await replica.ended() == 1
    (line,) = replica.log_path.read_text().splitlines()
    for name in ("APP_HOST", "APP_API_KEY", "APP_TOKEN_SECRET"):
        assert name in line


async def test_commands_send_the_key_and_say_when_they_have_none(cluster: Cluster) -> None:
    (replica,) = await cluster.start(1, **KEYS)
    assert (await replica.post("/stop")).status_code == 401
    key = {"X-API-Key": KEYS["APP_API_KEY"]}
    assert (await replica.get("/scheduler", headers=key)).json()["running"] is True

    at = f"http://127.0.0.1:{replica.port}"
    command = cluster.replica()
    await command.launch("status", "--url", at)
    assert await command.ended() == 0, command.log_path.read_text()
    assert "APP_API_KEY" in (command.folder / "stdout.log").read_text()
    command = cluster.replica(**KEYS)
    await command.launch("stop", "--url", at)
    assert await command.ended() == 0, command.log_path.read_text()
    assert (await replica.get("/scheduler", headers=key)).json()["running"] is False
    for keys in ({}, KEYS | {"APP_API_KEY": "another-key-of-the-tests"}):
        command = cluster.replica(**keys)
        await command.launch("start", "--url", at)
        assert await command.ended() != 0
        assert "APP_API_KEY" in command.log_path.read_text()
    assert (await replica.get("/scheduler", headers=key)).json()["running"] is False
    said = json.dumps(replica.log())
    assert KEYS["APP_API_KEY"] not in said
    assert KEYS["APP_TOKEN_SECRET"] not in said
