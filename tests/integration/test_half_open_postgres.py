"""A path to Postgres that goes dead without closing: each caller waits for one timeout, and the next one works."""

import asyncio

import pytest
from tests.chaos.wire import running_postgres_wire

from dispatcher.kernel import db
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import connected_pool

SECONDS = 2.0
CONNECTIONS = 4


@pytest.mark.alone
async def test_dead_connections_cost_one_timeout_and_are_replaced(
    db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "COMMAND_SECONDS", SECONDS)
    async with (
        running_postgres_wire(db_url) as (wire, url),
        connected_pool(url, application="test", size=CONNECTIONS) as pool,
    ):
        backends = await asyncio.gather(
            *(pool.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.2)") for _ in range(CONNECTIONS))
        )
        assert len(set(backends)) == CONNECTIONS

        wire.cut()
        began = elapsed()
        with pytest.raises(TimeoutError):
            await pool.fetchval("SELECT 1")
        assert elapsed() - began < SECONDS + 1.2, "not as long again for the cancellation"

        wire.heal(late=False)
        began = elapsed()
        again = await asyncio.gather(
            *(pool.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.2)") for _ in range(CONNECTIONS))
        )
        assert elapsed() - began < SECONDS, "nobody met another dead connection"
        assert not set(again) & set(backends)
