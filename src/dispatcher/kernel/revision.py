"""Whether a database has this version's schema, asked without the libraries that it takes to migrate one.

Alembic and SQLAlchemy are a third of what a start costs and a fifth of what an idle service holds in memory; nearly every
start finds nothing to migrate.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from dispatcher.kernel.db import CANNOT_OPEN, cannot_open

_INSTALLED = Path(__file__).parents[1] / "_migrations"
_IN_THE_TREE = Path(__file__).parents[3] / "migrations"
MIGRATIONS = _INSTALLED if _INSTALLED.is_dir() else _IN_THE_TREE
"""The folder of the migrations; a file's name in `versions/` begins with its revision."""


def newest_revision() -> str:
    """The revision of the schema that this version works on."""
    return max(path.name.partition("_")[0] for path in MIGRATIONS.glob("versions/[0-9]*.py"))


def connector(url: str) -> "Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]]":
    """Opens connections of asyncpg's own kind of address, which SQLAlchemy's does not quite match."""

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(url, timeout=5.0)

    return connect


async def is_up_to_date(url: str) -> bool:
    """True when there is nothing to migrate. False may also be a schema newer than this version's.

    Raises:
        StartupError: Postgres cannot be reached.
    """
    try:
        connection = await connector(url)()
    except CANNOT_OPEN as error:
        raise cannot_open(error) from error
    try:
        return bool(await connection.fetchval("SELECT version_num FROM alembic_version") == newest_revision())
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
