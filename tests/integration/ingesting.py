"""The route that puts messages in, as an app of its own, and ways to stop Postgres at the right moment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI

from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Connection, Pool
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.web import BodyLimit, Correlation, handle_errors
from dispatcher.messages.arrived import Arrived
from dispatcher.messages.echo_routes import echo_route
from dispatcher.messages.ingest import Ingest
from dispatcher.messages.ingest_docs import BODY_BYTES
from dispatcher.messages.ingest_routes import PATH, ingest_route
from dispatcher.messages.move_routes import move_routes

GATE = 4711
# At the commit, when the messages are inserted and nobody can see them yet.
COMMIT_WAITS = f"""
CREATE FUNCTION commit_waits() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER commit_waits AFTER INSERT ON messages_pending DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION commit_waits();
"""


@asynccontextmanager
async def running_api(pool: Pool, arrived: Arrived | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """A replica's routes that put messages in, and move them, on this pool."""
    ingest, app = Ingest(pool, arrived), FastAPI()
    handle_errors(app)
    app.add_middleware(BodyLimit, larger={PATH: BODY_BYTES})
    app.add_middleware(Correlation)
    app.router.routes += [ingest_route(ingest), echo_route(ingest, utc_now)]
    app.include_router(move_routes(pool, arrived or {}, utc_now))
    async with (
        background("ingest", ingest.run),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


@asynccontextmanager
async def closed_gate(pool: Pool) -> AsyncIterator[Connection]:
    """No transaction that inserts messages can commit, until the block ends or the connection unlocks the gate."""
    await pool.execute(COMMIT_WAITS)
    async with pool.acquire() as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", GATE)
        try:
            yield holder
        finally:
            await holder.execute("SELECT pg_advisory_unlock_all()")


async def waiting_commits(pool: Pool) -> int:
    """Transactions that stand before the gate."""
    waiting: int = await pool.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted", GATE
    )
    return waiting


async def stored(pool: Pool) -> int:
    """Messages in the table."""
    count: int = await pool.fetchval("SELECT count(*) FROM messages")
    return count
