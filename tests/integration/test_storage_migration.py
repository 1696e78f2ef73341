"""Migration 0002 on a database with messages: none is lost or changed, up or down, and ids go on."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from tests.conftest import administer, database_url

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.migrate import alembic_config, migrate
from dispatcher.kernel.revision import connector

STATES = ("pending", "sending", "sent", "failed", "uncertain", "cancelled")
A_YEAR = timedelta(days=365)
EVERY_COLUMN = (
    "id, lane, recipient_phone, content, state, sent_status, sent_at, deliver_at, attempt_count, "
    "lease_id, leased_until, receipt_id, last_error, created_at"
)
OF_AN_ATTEMPT = (
    "message_id, number, tick_no, replica, started_at, duration_ms, outcome, status, error, response_excerpt"
)
PER_STATE = 3
SENT_AGO = (timedelta(0), timedelta(days=40), -A_YEAR)
"""Also by a sender whose clock was a year ahead."""
STARTED_AGO = (timedelta(seconds=1), A_YEAR, -A_YEAR)


@pytest.fixture
async def old_database(servers: RunningServers) -> AsyncIterator[str]:
    """A database of the schema before, with messages in every state and their attempts."""
    name = f"old_{uuid4().hex[:8]}"
    await administer(servers, f"CREATE DATABASE {name}")
    url = database_url(servers, name)
    await migrate(url, to="0001")
    connection = await asyncpg.connect(url)
    for state in STATES:
        for nth in range(PER_STATE):
            await fill(connection, state, nth)
    await connection.execute("SELECT nextval(pg_get_serial_sequence('messages', 'id'))")  # rolled back, say
    await connection.close()
    yield url
    await administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


async def fill(connection: "asyncpg.Connection[asyncpg.Record]", state: str, nth: int) -> None:
    now, sending = utc_now(), state == "sending"
    message_id = await connection.fetchval(
        "INSERT INTO messages (lane, recipient_phone, content, state, sent_status, sent_at, deliver_at, "
        "attempt_count, lease_id, leased_until, receipt_id, last_error) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id",
        ("webhook", "webhook", "console")[nth],
        f"+90555{nth}",
        f"{state} ü {nth}",
        state,
        state == "sent",
        now - SENT_AGO[nth] if state == "sent" else None,
        now + timedelta(days=nth - 1),
        nth,
        uuid4() if sending else None,
        now + timedelta(seconds=30) if sending else None,
        "theirs" if state == "sent" else None,
        "503" if state == "failed" else None,
    )
    for number in range(1, nth + 2):
        await connection.execute(
            f"INSERT INTO attempts ({OF_AN_ATTEMPT}) VALUES ($1, $2, 7, 'r', $3, 5, 'retry', 503, 'busy', 'body')",
            *(message_id, number, now - STARTED_AGO[number - 1]),
        )


async def everything(connection: "asyncpg.Connection[asyncpg.Record]") -> list[tuple[Any, ...]]:
    rows = await connection.fetch(f"SELECT {EVERY_COLUMN} FROM messages ORDER BY id")
    made = await connection.fetch(f"SELECT {OF_AN_ATTEMPT} FROM attempts ORDER BY message_id, number")
    return [tuple(row) for row in (*rows, *made)]


async def insert(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    made: int = await connection.fetchval(
        "INSERT INTO messages (recipient_phone, content) VALUES ('+90555', 'new') RETURNING id"
    )
    return made


async def downgrade(url: str, to: str) -> None:
    def down(connection: Connection) -> None:
        command.downgrade(alembic_config(connection), to)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connector(url))
    async with engine.begin() as connection:
        await connection.run_sync(down)
    await engine.dispose()


async def test_every_message_and_attempt_survives_up_down_and_up(old_database: str) -> None:
    connection = await asyncpg.connect(old_database)
    before = await everything(connection)
    total = len(STATES) * PER_STATE
    assert len(before) == total + len(STATES) * (1 + 2 + 3)

    await migrate(old_database)
    await connection.reload_schema_state()
    assert await everything(connection) == before
    parts = await connection.fetch(
        "SELECT state, array_agg(DISTINCT tableoid::regclass::text) AS parts, min(priority) AS priority, "
        "bool_and((held_at IS NOT NULL) = (state IN ('failed', 'uncertain', 'cancelled'))) AS held "
        "FROM messages GROUP BY state"
    )
    assert all(row["priority"] == 1 and row["held"] for row in parts)
    by_state = {row["state"]: row["parts"] for row in parts}
    assert by_state["pending"] == ["messages_pending"]
    assert by_state["sending"] == ["messages_sending"]
    assert by_state["failed"] == by_state["uncertain"] == by_state["cancelled"] == ["messages_held"]
    assert len(by_state["sent"]) == len(SENT_AGO), "a day each"
    assert await insert(connection) == total + 2, "ids go on, and skip what the sequence had given out"

    before = await everything(connection)
    await downgrade(old_database, "0001")
    await connection.reload_schema_state()
    assert await everything(connection) == before
    assert await insert(connection) == total + 3

    before = await everything(connection)
    await migrate(old_database)
    await connection.reload_schema_state()
    assert await everything(connection) == before
    await connection.close()
