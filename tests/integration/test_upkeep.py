"""Upkeep: what it does in one go, and how it says that it cannot."""

from tests.conftest import administer
from tests.integration.rows import until

from dispatcher.delivery.upkeep import Upkeep
from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.live import Live, Snapshot
from dispatcher.live_config.model import LiveConfig

LIVE = Live(Snapshot(LiveConfig(retention_days=3), None))


async def test_once_makes_days_drops_days_and_forgets_keys(pool: Pool) -> None:
    await pool.execute(
        """
        CREATE TABLE messages_sent_20200101 PARTITION OF messages_sent
            FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-02 00:00:00+00')
        """
    )
    await pool.execute(
        """
        INSERT INTO messages (recipient_phone, content, state, held_at)
        SELECT '+1', 'x', state, now() - interval '4 days' FROM unnest(ARRAY['failed', 'cancelled', 'uncertain']) AS state
        """
    )
    await Upkeep(pool, LIVE).once()
    assert await pool.fetchval("SELECT to_regclass('messages_sent_20200101')") is None
    assert [row["state"] for row in await pool.fetch("SELECT state FROM messages")] == ["uncertain"]


async def test_a_role_that_may_not_make_days_is_told_what_to_do(
    pool: Pool, servers: RunningServers, db_url: str
) -> None:
    name = db_url.partition("?")[0].rpartition("/")[2]
    day = await pool.fetchval(
        "SELECT max(relname) FROM pg_class WHERE relname LIKE 'attempts_2%' AND relkind = 'r'"
    )
    await pool.execute(f"DROP TABLE {day}")
    role = f"guest_{name}"
    await administer(servers, f"CREATE ROLE {role} LOGIN")
    try:
        await pool.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        async with connected_pool(db_url, application="guest", size=1) as guests:
            await guests.execute(f"SET ROLE {role}")
            upkeep = Upkeep(guests, LIVE)
            async with background("upkeep", upkeep.run):
                await until(lambda: upkeep.problem is not None)
        assert upkeep.problem is not None
        assert "must be owner" in upkeep.problem or "permission denied" in upkeep.problem
        assert "results can be written until 2" in upkeep.problem
        assert "must own the tables" in upkeep.problem
    finally:
        await pool.execute(f"DROP OWNED BY {role}")
        await administer(servers, f"DROP ROLE {role}")
