"""Real servers for every test that asks: one Postgres, Redis and etcd a run, a database of its own a test."""

import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from dispatcher.embedded.etcd import USUAL_PORT
from dispatcher.embedded.servers import RunningServers, running_servers
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.migrate import migrate

TEMPLATE = "template_dispatcher"
MEMORY = Path("/dev/shm")
MEMORY_FREE, MEMORY_AVAILABLE = 2 << 30, 4 << 30

# A shell that starts this run in the background has it ignore Ctrl-C, and every child inherits that: a command that
# a test interrupts would go on.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Keep every etcd of this run from the usual port: another test's would take it while its holder is stopped."""
    held = socket.socket()
    config.add_cleanup(held.close)
    with suppress(OSError):  # held already: by another program, or by the run whose worker this is
        held.bind(("127.0.0.1", USUAL_PORT))


def servers_place() -> Path | None:
    """Where to put the folders of servers: in memory where there is plenty, else (None) where temporary files go.

    A database of its own is hundreds of files a test: making them on a disk takes longer than most tests.
    """
    if not MEMORY.is_dir() or psutil.virtual_memory().available < MEMORY_AVAILABLE:
        return None
    return MEMORY if psutil.disk_usage(str(MEMORY)).free >= MEMORY_FREE else None


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[RunningServers]:
    # tempfile and not tmp_path: Postgres runs as nobody where the tests run as root, and has to get in
    with tempfile.TemporaryDirectory(prefix="dispatcher-test-", dir=servers_place()) as folder:
        async with running_servers(Path(folder), postgres=True, redis=True, etcd=True) as running:
            # nothing here outlives the machine, and a kill -9 of Postgres loses nothing that the kernel has
            await administer(running, "ALTER SYSTEM SET fsync = off")
            await administer(running, "ALTER SYSTEM SET max_wal_size = '128MB'")
            await administer(running, "SELECT pg_reload_conf()")
            yield running


@pytest.fixture(scope="module")
async def own_servers() -> AsyncIterator[RunningServers]:
    """Servers for one module's tests that stop, restart or empty them; their database is migrated."""
    with tempfile.TemporaryDirectory(prefix="dispatcher-test-", dir=servers_place()) as folder:
        async with running_servers(Path(folder), postgres=True, redis=True, etcd=True) as running:
            await migrate(database_url(running, "dispatcher"))
            yield running


@pytest.fixture
async def own_pool(own_servers: RunningServers) -> AsyncIterator[Pool]:
    """A pool of the module's own Postgres, its tables emptied."""
    async with connected_pool(database_url(own_servers, "dispatcher"), application="test", size=10) as opened:
        await opened.execute(
            "TRUNCATE messages, attempts, idempotency_keys, schedules, ticks, last_live_config"
        )
        yield opened


@pytest.fixture(scope="session")
async def template(servers: RunningServers) -> str:
    """A migrated database that each test's own is copied from, so that tests really commit."""
    url = database_url(servers, TEMPLATE)
    await administer(servers, f"CREATE DATABASE {TEMPLATE}")
    await migrate(url)
    return TEMPLATE


@pytest.fixture
async def db_url(servers: RunningServers, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    await administer(servers, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    yield database_url(servers, name)
    await administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def pool(db_url: str) -> AsyncIterator[Pool]:
    async with connected_pool(db_url, application="test", size=10) as opened:
        yield opened


@pytest.fixture
async def redis_url(servers: RunningServers) -> str:
    """The Redis of this run, emptied."""
    url = servers.addresses.redis_addr
    assert url is not None
    async with Redis.from_url(url) as connection:
        await connection.flushall()
    return url


@pytest.fixture
def etcd_endpoints(servers: RunningServers) -> tuple[str, ...]:
    endpoints = servers.addresses.etcd_endpoints
    assert endpoints is not None
    return endpoints


def database_url(servers: RunningServers, name: str) -> str:
    url = servers.addresses.db_url
    assert url is not None
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


async def administer(servers: RunningServers, statement: str) -> None:
    url = servers.addresses.db_url
    assert url is not None
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
