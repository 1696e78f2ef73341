"""The schema: what an INSERT may leave out, what the table refuses, and that models and migrations agree."""

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, PrimaryKeyConstraint, text
from sqlalchemy.ext.asyncio import create_async_engine

from dispatcher.kernel.db import Pool
from dispatcher.kernel.migrate import alembic_config, migrate, pending_migrations
from dispatcher.kernel.revision import connector
from dispatcher.kernel.schema import metadata


async def test_an_insert_of_recipient_and_content_is_enough(pool: Pool) -> None:
    row = await pool.fetchrow(
        "INSERT INTO messages (recipient_phone, content) VALUES ('+905551111111', 'Hello') RETURNING *"
    )
    assert row is not None
    assert (row["state"], row["sent_status"], row["sent_at"], row["lane"]) == (
        "pending",
        False,
        None,
        "webhook",
    )
    assert row["deliver_at"] == row["created_at"]


@pytest.mark.parametrize(
    ("columns", "values", "constraint"),
    [
        ("recipient_phone, content", "'', 'x'", "messages_recipient"),
        ("recipient_phone, content", "'+1', ''", "messages_content_length"),
        ("recipient_phone, content", "'+1', repeat('x', 161)", "messages_content_length"),
        ("recipient_phone, content, lane", "'+1', repeat('x', 4097), 'console'", "messages_content_length"),
        ("recipient_phone, content, sent_status", "'+1', 'x', true", "messages_sent_status"),
        ("recipient_phone, content, priority", "'+1', 'x', 3", "messages_priority"),
        ("recipient_phone, content, state", "'+1', 'x', 'sending'", "messages_lease"),
    ],
)
async def test_the_table_refuses_what_must_not_be(
    pool: Pool, columns: str, values: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await pool.execute(f"INSERT INTO messages ({columns}) VALUES ({values})")
    assert caught.value.constraint_name == constraint


async def test_160_characters_are_counted_as_characters(pool: Pool) -> None:
    await pool.execute("INSERT INTO messages (recipient_phone, content) VALUES ('+1', repeat('ü', 160))")
    assert await pool.fetchval("SELECT count(*) FROM messages") == 1


async def test_models_and_migrations_agree(db_url: str) -> None:
    def compare(connection: Connection) -> list[object]:
        opts = {"compare_server_default": True, "include_name": is_whole_table}
        context = MigrationContext.configure(connection, opts=opts)
        return list(compare_metadata(context, metadata))

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connector(db_url))
    async with engine.begin() as connection:
        differences = await connection.run_sync(compare)
    await engine.dispose()
    assert differences == []


def is_whole_table(name: str | None, kind: str, _: object) -> bool:
    """The parts of a partitioned table have what the whole has, and indexes that `test_plans.py` looks at."""
    return (
        kind != "table" or name is None or not name.startswith(("messages_", "attempts_", "chat_messages_"))
    )


async def test_a_state_that_does_not_exist_has_no_place(pool: Pool) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
        await pool.execute(
            "INSERT INTO messages (recipient_phone, content, state) VALUES ('+1', 'x', 'lost')"
        )


async def test_constraints_are_named_as_in_the_models(pool: Pool) -> None:
    rows = await pool.fetch(
        """
        SELECT conname FROM pg_constraint JOIN pg_class c ON c.oid = conrelid
        WHERE contype IN ('c', 'f', 'p', 'u') AND connamespace = 'public'::regnamespace AND NOT c.relispartition
        """
    )
    wanted = {
        constraint_name(table.name, str(constraint.name)) if constraint.name else f"{table.name}_pkey"
        for table in metadata.tables.values()
        for constraint in table.constraints
        if not isinstance(constraint, PrimaryKeyConstraint) or constraint.columns
    }
    assert {row["conname"] for row in rows} - {"alembic_version_pkc"} == wanted


def constraint_name(table: str, name: str) -> str:
    return name if name.startswith(f"{table}_") else f"{table}_{name}"


async def test_down_and_up_once(db_url: str) -> None:
    def down(connection: Connection) -> list[str]:
        command.downgrade(alembic_config(connection), "base")
        return [
            row[0]
            for row in connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        ]

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connector(db_url))
    async with engine.begin() as connection:
        left = await connection.run_sync(down)
    await engine.dispose()
    assert left == ["alembic_version"]
    assert await pending_migrations(db_url) == [
        "0001",
        "0002",
        "0003",
        "0004",
        "0005",
        "0006",
        "0007",
        "0008",
    ]
    assert await migrate(db_url) == ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008"]
    assert await migrate(db_url) == []
