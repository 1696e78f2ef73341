"""The embedded servers, for real: started, killed in every way, found again with their data."""

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import redis.asyncio
from structlog.testing import capture_logs

from dispatcher.embedded.accounts import Account, own_account, postgres_account
from dispatcher.embedded.etcd import EtcdProgram, etcdctl_path
from dispatcher.embedded.folders import tag_of
from dispatcher.embedded.lock import LOOK_SECONDS
from dispatcher.embedded.postgres import psql_path
from dispatcher.embedded.redis import RedisProgram
from dispatcher.embedded.server import EmbeddedServer
from dispatcher.embedded.servers import (
    Addresses,
    EmbeddedError,
    embedded_servers,
    recorded_addresses,
    running_servers,
)
from dispatcher.kernel.clock import elapsed, pause

HOLDER = """
import asyncio, sys
from pathlib import Path
from dispatcher.embedded.servers import embedded_servers

async def main():
    async with embedded_servers(Path(sys.argv[1]), postgres=True, redis=True, etcd=True):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
ALL = {"postgres": True, "redis": True, "etcd": True}
REDIS_ONLY = {"postgres": False, "redis": True, "etcd": False}


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """One folder for all tests, each finding it as the one before left it; making a cluster is what takes time."""
    with tempfile.TemporaryDirectory(prefix="dispatcher-test-") as folder:
        yield Path(folder).resolve() / "data"


def servers_of(data_dir: Path) -> list[psutil.Process]:
    tag, found = tag_of(data_dir), []
    for process in psutil.process_iter():
        try:
            if process.name() in {"postgres", "redis-server", "etcd"} and tag in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = elapsed() + seconds
    while not condition():
        assert elapsed() < deadline, "the condition did not come true in time"
        await pause(0.02)


@contextmanager
def holder(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            # Ends with the holder's output; a start that hangs is bounded by the servers' own deadline.
            assert "ready\n" in iter(process.stdout.readline, "")
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


@contextmanager
def running(*command: str, account: Account) -> Iterator["subprocess.Popen[bytes]"]:
    user: dict[str, Any] = {}
    if not account.is_ours:
        user = {"user": account.uid, "group": account.gid, "extra_groups": []}
    with subprocess.Popen(command, **user) as process:
        try:
            yield process
        finally:
            process.kill()


def etcdctl(addresses: Addresses, *arguments: str) -> str:
    assert addresses.etcd_endpoints is not None
    return output_of(str(etcdctl_path()), f"--endpoints={addresses.etcd_endpoints[0]}", *arguments)


async def connect(addresses: Addresses) -> "asyncpg.Connection[asyncpg.Record]":
    assert addresses.db_url is not None
    return await asyncpg.connect(addresses.db_url, timeout=5)


async def write(addresses: Addresses, value: str) -> None:
    assert addresses.redis_addr is not None
    connection = await connect(addresses)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
    await connection.execute("DELETE FROM kept")
    await connection.execute("INSERT INTO kept VALUES ($1)", value)
    await connection.close()
    async with redis.asyncio.Redis.from_url(addresses.redis_addr) as client:
        await client.set("kept", value, ex=3600)
    etcdctl(addresses, "put", "/kept", value)


async def read(addresses: Addresses) -> tuple[str, str, str]:
    assert addresses.redis_addr is not None
    connection = await connect(addresses)
    row = await connection.fetchval("SELECT value FROM kept")
    await connection.close()
    async with redis.asyncio.Redis.from_url(addresses.redis_addr, decode_responses=True) as client:
        cached = await client.get("kept")
    assert isinstance(cached, str)
    return row, cached, etcdctl(addresses, "get", "/kept", "--print-value-only").strip()


@pytest.mark.alone
async def test_a_second_start_is_quick_and_finds_the_data_of_all_three(data_dir: Path) -> None:
    async with embedded_servers(data_dir, **ALL) as first:
        await write(first, "one")
    assert servers_of(data_dir) == []
    assert not (data_dir / "env").exists()
    began = elapsed()
    async with embedded_servers(data_dir, **ALL) as second:
        assert elapsed() - began < 3.0
        assert second == first
        assert await read(second) == ("one", "one", "one")
        connection = await connect(second)
        assert [
            await connection.fetchval(f"SHOW {name}")
            for name in (
                "fsync",
                "synchronous_commit",
                "jit",
                "max_connections",
                "timezone",
                "server_encoding",
            )
        ] == ["on", "on", "off", "200", "UTC", "UTF8"]
        await connection.close()
    assert servers_of(data_dir) == []


async def test_the_env_file_lets_a_shell_use_the_servers(data_dir: Path) -> None:
    assert recorded_addresses(data_dir) is None
    async with embedded_servers(data_dir, **ALL) as addresses:
        assert recorded_addresses(data_dir) == addresses
        script = (
            f". {shlex.quote(str(data_dir / 'env'))}"
            f" && {shlex.quote(str(psql_path()))} -X -At -d \"$APP_DB_URL\" -c 'SELECT 41 + 1'"
            f" && {shlex.quote(str(etcdctl_path()))} put /a b"
            ' && echo "$APP_REDIS_ADDR" "$APP_REMOTE_ETCD_ENDPOINTS"'
        )
        endpoints = json.dumps(addresses.etcd_endpoints)
        assert output_of("sh", "-ec", script).splitlines() == [
            "42",
            "OK",
            f"{addresses.redis_addr} {endpoints}",
        ]
    assert recorded_addresses(data_dir) is None


async def test_all_of_it_killed_starts_again_with_its_data(data_dir: Path) -> None:
    with holder(data_dir) as process:
        addresses = recorded_addresses(data_dir)
        assert addresses is not None
        await write(addresses, "kept")
        os.killpg(process.pid, signal.SIGKILL)
        for server in servers_of(data_dir):
            with suppress(psutil.NoSuchProcess):
                server.kill()
        process.wait(10)
    # The number of the dead postmaster now belongs to a stranger of the same user.
    pid_file = data_dir / "postgres" / "cluster" / "postmaster.pid"
    dead, _, rest = pid_file.read_text().partition("\n")
    with running("sleep", "60", account=postgres_account()) as stranger:
        await until(lambda: not psutil.pid_exists(int(dead)))
        pid_file.write_text(f"{stranger.pid}\n{rest}")
        async with embedded_servers(data_dir, **ALL) as again:
            assert again == addresses
            assert await read(again) == ("kept", "kept", "kept")


async def test_servers_die_with_a_holder_that_was_killed_and_the_next_start_need_not_wait(
    data_dir: Path,
) -> None:
    with holder(data_dir) as process:
        addresses = recorded_addresses(data_dir)
        assert addresses is not None
        await write(addresses, "kept")
        process.kill()
        process.wait(10)
    async with embedded_servers(data_dir, **ALL) as again:
        assert await read(again) == ("kept", "kept", "kept")
    with holder(data_dir) as process:
        process.kill()
        process.wait(10)
        if sys.platform == "linux":
            await until(lambda: servers_of(data_dir) == [])


async def test_a_server_that_outlived_its_holder_is_stopped_first(data_dir: Path) -> None:
    async with embedded_servers(data_dir, **REDIS_ONLY) as addresses:
        pass
    with running(*RedisProgram(data_dir).command(), account=own_account()) as orphan:
        assert addresses.redis_addr is not None
        program = RedisProgram(data_dir)
        deadline = elapsed() + 5
        while await program.answer() != "ready":
            assert elapsed() < deadline
            await pause(0.02)
        async with redis.asyncio.Redis.from_url(addresses.redis_addr) as client:
            await client.set("kept", "by the orphan", ex=60)
        # Reaps it, as its parent would have: a zombie's socket is gone, its entry is not.
        reaped = asyncio.create_task(asyncio.to_thread(orphan.wait, 10))
        async with (
            embedded_servers(data_dir, **REDIS_ONLY),
            redis.asyncio.Redis.from_url(addresses.redis_addr) as client,
        ):
            assert await reaped == 0
            assert await client.get("kept") == b"by the orphan"


async def test_each_server_can_be_killed_and_started_again_on_its_address(data_dir: Path) -> None:
    async with running_servers(data_dir, **ALL) as servers:
        await write(servers.addresses, "kept")
        # A backend that works through its postmaster's death, and must not be joined by a second cluster.
        connection = await connect(servers.addresses)
        busy = asyncio.create_task(connection.execute("SELECT count(*) FROM generate_series(1, 5000000000)"))
        await until(lambda: any("SELECT" in " ".join(process.cmdline()) for process in servers_of(data_dir)))
        for server in (servers.postgres, servers.redis, servers.etcd):
            assert server is not None
            before = server.pid
            await server.stop(kill=True)
            assert server.pid is None
            await server.start()
            assert server.pid not in {None, before}
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await busy
        assert await read(servers.addresses) == ("kept", "kept", "kept")


async def test_a_server_that_dies_is_logged_and_not_restarted(data_dir: Path) -> None:
    with capture_logs() as logs:
        async with running_servers(data_dir, **REDIS_ONLY) as servers:
            assert servers.redis is not None
            pid = servers.redis.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: any(entry["event"] == "embedded_server_died" for entry in logs))
            assert not psutil.pid_exists(pid)
    died = [entry for entry in logs if entry["event"] == "embedded_server_died"]
    assert [(entry["server"], entry["exit_code"], entry["log_level"]) for entry in died] == [
        ("redis", -9, "error")
    ]


async def test_a_second_holder_is_told_who_has_the_folder_and_what_to_do(data_dir: Path) -> None:
    async with embedded_servers(data_dir, **REDIS_ONLY):
        began = elapsed()
        with pytest.raises(EmbeddedError) as refused:
            async with embedded_servers(data_dir, **REDIS_ONLY):
                pass
        assert elapsed() - began < LOOK_SECONDS + 2
    text = str(refused.value)
    assert f"{data_dir} is in use by the process {os.getpid()}; set another APP_DATA_DIR" in text
    assert "dispatcher services" in text
    assert "\n" not in text


async def test_a_path_too_long_for_a_socket_gets_a_short_private_folder(data_dir: Path) -> None:
    deep = data_dir.parent / ("x" * 90)
    async with embedded_servers(deep, postgres=True, redis=True, etcd=False) as addresses:
        assert addresses.redis_addr is not None
        sockets = Path(addresses.redis_addr.removeprefix("unix://")).parent
        assert not sockets.is_relative_to(deep)
        assert sockets.stat().st_mode & 0o777 == 0o700
        connection = await connect(addresses)
        assert await connection.fetchval("SELECT current_database()") == "dispatcher"
        await connection.close()
    assert not sockets.exists()


async def test_two_folders_run_side_by_side(data_dir: Path) -> None:
    async with (
        embedded_servers(data_dir, **ALL) as one,
        embedded_servers(data_dir.parent / "two", **ALL) as two,
    ):
        assert (
            len(
                {
                    one.db_url,
                    two.db_url,
                    one.redis_addr,
                    two.redis_addr,
                    one.etcd_endpoints,
                    two.etcd_endpoints,
                }
            )
            == 6
        )
        await write(one, "one")
        await write(two, "two")
        assert await read(one) == ("one", "one", "one")
        assert await read(two) == ("two", "two", "two")


async def test_etcd_takes_another_port_when_its_own_is_stolen_at_the_last_moment(data_dir: Path) -> None:
    program = EtcdProgram(data_dir)
    await program.prepare()
    stolen = program.address
    with socket.create_server(("127.0.0.1", int(stolen.partition(":")[2]))):
        server = EmbeddedServer(program)
        await server.start()
        assert program.address != stolen
        kept = program.address
        await server.stop()
    again = EtcdProgram(data_dir)
    await again.prepare()
    assert again.address == kept


async def test_a_failed_start_quotes_the_log_and_leaves_nothing_running(data_dir: Path) -> None:
    version = data_dir / "postgres" / "cluster" / "PG_VERSION"
    right = version.read_text()
    version.write_text("9.1\n")
    with pytest.raises(
        EmbeddedError, match=r"(?s)postgres ended while starting.*server\.log:\n.*incompatible"
    ):
        async with embedded_servers(data_dir, **ALL):
            pass
    version.write_text(right)
    assert servers_of(data_dir) == []
    assert recorded_addresses(data_dir) is None


async def test_cancelled_while_starting_leaves_nothing_running(data_dir: Path) -> None:
    async def run() -> None:
        async with embedded_servers(data_dir, **ALL):
            pytest.fail("it was cancelled before")

    task = asyncio.create_task(run())
    await until(lambda: servers_of(data_dir))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert servers_of(data_dir) == []
    async with embedded_servers(data_dir, **ALL) as addresses:
        await write(addresses, "fine")
