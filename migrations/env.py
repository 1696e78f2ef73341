"""Alembic's entry: with a connection handed in by the service, or on its own from the environment's APP_DB_URL."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import dispatcher.chat.tables
import dispatcher.delivery.tables
import dispatcher.live_config.tables
import dispatcher.messages.tables  # noqa: F401 - the tables hang themselves on the metadata when they are imported
from dispatcher.kernel.revision import connector
from dispatcher.kernel.schema import metadata
from dispatcher.settings import read_settings


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


async def run_alone() -> None:
    url = read_settings(os.environ).db_url
    if url is None:
        raise SystemExit("APP_DB_URL is not set; `dispatcher services` prints one for the embedded servers")
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connector(url.get_secret_value()))
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


handed_in = context.config.attributes.get("connection")
if handed_in is not None:
    run(handed_in)
else:
    asyncio.run(run_alone())
