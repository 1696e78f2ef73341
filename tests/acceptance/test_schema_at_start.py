"""The schema at the start: three replicas on an empty database, and production, which refuses an old one."""

from uuid import uuid4

import pytest
from tests.acceptance.cluster import running_cluster
from tests.acceptance.receiver import Receiver
from tests.conftest import administer, database_url

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.migrate import pending_migrations

KEYS = {"APP_API_KEY": "the-operators-key-of-the-tests", "APP_TOKEN_SECRET": "s" * 32}

pytestmark = pytest.mark.usefixtures("redis_url")


@pytest.fixture
async def empty_db_url(servers: RunningServers) -> str:
    name = f"test_{uuid4().hex[:12]}"
    await administer(servers, f"CREATE DATABASE {name}")
    return database_url(servers, name)


async def test_three_replicas_start_at_once_on_an_empty_database(
    servers: RunningServers, empty_db_url: str, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> None:
    folder = tmp_path_factory.mktemp("empty")
    prefix = f"/acceptance/{uuid4().hex[:12]}/"
    async with running_cluster(folder, servers, db_url=empty_db_url, etcd_prefix=prefix) as cluster:
        await cluster.configure(scheduler_interval=0.1, webhook_url=receiver.url)
        replicas = await cluster.start(3)
        assert sum(bool(replica.said("migrated")) for replica in replicas) == 1
        await cluster.insert(6)
        await cluster.reaches(sent=6, seconds=10)
        assert receiver.repeated == {}


async def test_production_refuses_an_old_schema_and_names_the_command(
    servers: RunningServers, empty_db_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("old")
    async with running_cluster(folder, servers, db_url=empty_db_url, etcd_prefix="/acceptance/x/") as cluster:
        replica = cluster.replica(APP_ENV="production", **KEYS)
        await replica.launch()
        assert await replica.ended() == 1
        (line,) = replica.log_path.read_text().splitlines()
        assert "dispatcher migrate" in line
        assert await pending_migrations(empty_db_url), "and nothing was changed"

        await replica.launch("migrate")
        assert await replica.ended() == 0, replica.log_path.read_text()
        assert await pending_migrations(empty_db_url) == []
        await replica.start()
