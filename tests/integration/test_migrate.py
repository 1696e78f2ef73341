"""Migrating: what a person is told who cannot."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from tests.conftest import administer, database_url

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.db import connected_pool
from dispatcher.kernel.errors import StartupError
from dispatcher.kernel.migrate import alembic_config, migrate, pending_migrations
from dispatcher.kernel.revision import is_up_to_date, newest_revision


@pytest.fixture
async def empty_database(servers: RunningServers) -> str:
    await administer(servers, "DROP DATABASE IF EXISTS empty")
    await administer(servers, "CREATE DATABASE empty")
    return database_url(servers, "empty")


async def test_a_database_of_a_newer_version_is_refused(empty_database: str) -> None:
    await migrate(empty_database)
    connection = await asyncpg.connect(empty_database)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(StartupError, match="9999, which this version does not know"):
        await pending_migrations(empty_database)


async def test_whether_there_is_anything_to_migrate(empty_database: str) -> None:
    assert not await is_up_to_date(empty_database)
    await migrate(empty_database)
    assert await is_up_to_date(empty_database)
    connection = await asyncpg.connect(empty_database)
    for other in ("0001", "9999"):
        await connection.execute("UPDATE alembic_version SET version_num = $1", other)
        assert not await is_up_to_date(empty_database)
    await connection.close()


def test_the_newest_revision_is_alembics() -> None:
    assert newest_revision() == ScriptDirectory.from_config(alembic_config()).get_current_head()


async def open_pool(url: str) -> None:
    async with connected_pool(url, application="test", size=1):
        pass


@pytest.mark.parametrize("opened", [migrate, is_up_to_date, open_pool])
@pytest.mark.parametrize("database", ["missing", "no socket", "no port"])
async def test_a_database_that_cannot_be_opened_is_one_line(
    servers: RunningServers, opened: Callable[[str], Awaitable[object]], database: str
) -> None:
    url = {
        "missing": database_url(servers, "there_is_none"),
        "no socket": "postgresql://u:secret@/db?host=/nowhere",
        "no port": "postgresql://u:secret@127.0.0.1:1/db",
    }[database]
    with pytest.raises(StartupError) as caught:
        await opened(url)
    assert caught.value.detail.startswith("APP_DB_URL: cannot open the database")
    assert "secret" not in caught.value.detail
    assert "\n" not in caught.value.detail
