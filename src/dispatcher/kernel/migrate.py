"""Schema migrations: which revision a database has, and bringing it to ours, safely while many replicas start."""

from collections.abc import Callable

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from dispatcher.kernel.db import CANNOT_OPEN, cannot_open
from dispatcher.kernel.errors import StartupError
from dispatcher.kernel.revision import MIGRATIONS, connector

LOCK_KEY = 0x64697370  # "disp": one advisory lock for all who migrate this database


async def pending_migrations(url: str) -> list[str]:
    """The revisions that this database still lacks, oldest first; empty when it is up to date.

    Raises:
        StartupError: Postgres cannot be reached, or the database is of a newer version than this program.
    """
    return await _with_connection(url, _pending)


async def migrate(url: str, *, to: str = "head") -> list[str]:
    """Bring the database to that revision, in one transaction. The revisions that were applied.

    Replicas that start together wait for the first one and find nothing left to do.
    """

    def up(connection: Connection) -> list[str]:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        missing = _pending(connection)
        if missing:
            command.upgrade(alembic_config(connection), to)
        return missing

    return await _with_connection(url, up)


def _pending(connection: Connection) -> list[str]:
    script = ScriptDirectory.from_config(alembic_config())
    current = MigrationContext.configure(connection).get_current_revision()
    known = [revision.revision for revision in script.walk_revisions()]
    if current is not None and current not in known:
        raise StartupError(
            f"the database has schema {current}, which this version does not know; "
            "run the version that migrated it, or a newer one"
        )
    return known[: known.index(current)][::-1] if current else known[::-1]


async def _with_connection(url: str, run: Callable[[Connection], list[str]]) -> list[str]:
    engine: AsyncEngine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connector(url), poolclass=NullPool
    )
    try:
        connection = await engine.connect()
    except DBAPIError as error:  # SQLAlchemy's wrapping of what asyncpg says, e.g. of a wrong password
        raise cannot_open(error.__cause__ or error) from error
    except CANNOT_OPEN as error:
        raise cannot_open(error) from error
    try:
        async with connection.begin():
            return await connection.run_sync(run)
    finally:
        await connection.close()
        await engine.dispose()


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for our migrations, to be run over this connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
