"""Postgres killed again and again under statements: everything that comes of it counts as unavailable."""

import asyncio
from contextlib import suppress

from tests.integration.rows import until

from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.clock import pause
from dispatcher.kernel.db import UNAVAILABLE, Pool

ROUNDS = 12


async def test_a_killed_postgres_is_unavailable_and_nothing_else(
    own_servers: RunningServers, own_pool: Pool
) -> None:
    assert own_servers.postgres is not None
    answers = 0
    ended = False

    async def ask() -> None:
        nonlocal answers
        while not ended:
            with suppress(*UNAVAILABLE):
                await own_pool.fetchval("SELECT 1")
                answers += 1
            await pause(0)

    async with asyncio.TaskGroup() as asking:
        for _ in range(8):
            asking.create_task(ask())
        for _ in range(ROUNDS):
            before = answers
            await until(lambda before=before: answers > before + 50)  # type: ignore[misc]
            await own_servers.postgres.stop(kill=True)
            await own_servers.postgres.start()
        ended = True
