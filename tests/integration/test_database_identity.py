"""Two databases on one Redis: each has its own keys, and sees nothing of the other's."""

import asyncpg
from redis.asyncio import Redis
from tests.conftest import administer, database_url
from tests.integration.rows import LANE

from dispatcher.delivery import receipts
from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.db import Pool, connected_pool, database_identity
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.messages.recent import RecentSent


async def test_each_database_has_its_own_for_everyone(servers: RunningServers, pool: Pool) -> None:
    own = await database_identity(pool)
    async with connected_pool(database_url(servers, "dispatcher"), application="test", size=1) as other:
        assert await database_identity(other) != own
    name = await pool.fetchval("SELECT current_database()")
    await administer(servers, "CREATE ROLE plain LOGIN")
    try:
        async with asyncpg.create_pool(
            database_url(servers, name), server_settings={"role": "plain"}, min_size=1, max_size=1
        ) as plain:
            assert await plain.fetchval("SELECT current_user") == "plain"
            assert await database_identity(plain) == own
            await pool.execute("REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC")
            assert own.endswith(f"-{await database_identity(plain)}")
    finally:
        await administer(servers, "DROP ROLE plain")


async def test_what_one_keeps_the_other_does_not_find(redis_url: str) -> None:
    one, other = (BoundedRedis(redis_url, password=None, db=0, prefix=f"dispatcher:{n}:") for n in "ab")
    version, _ = await RecentSent(one).read(LANE)
    await RecentSent(one).write(LANE, version, "a page")
    await RecentSent(one).outdated(LANE)
    await receipts.publish_state(one, LANE, {"running": True}, interval=1)
    assert await one.probe() is None
    assert await RecentSent(other).read(LANE) == ("0", None)
    async with Redis.from_url(redis_url) as connection:
        assert len(await connection.keys("dispatcher:a:*")) == await connection.dbsize() == 4
    for redis in (one, other):
        await redis.close()
