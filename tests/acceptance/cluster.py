"""Several replicas on one Postgres, Redis and etcd, and what tests ask and tell them."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import orjson
from tests.acceptance.replica import Replica, eventually
from tests.conftest import servers_place

from dispatcher.embedded.servers import RunningServers, running_servers
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.etcd import connected
from dispatcher.kernel.migrate import migrate


@dataclass(slots=True)
class Cluster:
    """Replicas and their servers. `servers` may be shared with other tests: only tests that own them stop them."""

    folder: Path
    servers: RunningServers
    db_url: str
    redis_url: str
    etcd_endpoint: str
    etcd_prefix: str
    pool: Pool
    replicas: list[Replica] = field(default_factory=list)

    def replica(self, **environment: str) -> Replica:
        """One more replica, not started."""
        replica = Replica(
            self.folder / f"replica-{len(self.replicas)}",
            {
                "APP_DB_URL": self.db_url,
                "APP_REDIS_ADDR": self.redis_url,
                "APP_REMOTE_ETCD_ENDPOINTS": orjson.dumps([self.etcd_endpoint]).decode(),
                "APP_REMOTE_ETCD_PREFIX": self.etcd_prefix,
                **environment,
            },
        )
        self.replicas.append(replica)
        return replica

    async def start(self, count: int, **environment: str) -> Sequence[Replica]:
        """Start that many more replicas, all at once."""
        started = [self.replica(**environment) for _ in range(count)]
        await asyncio.gather(*(replica.start() for replica in started))
        return started

    async def put(self, key: str, value: object) -> None:
        raw = value if isinstance(value, bytes) else str(value).encode()
        async with connected(self.etcd_endpoint) as client:
            await client.put(f"{self.etcd_prefix}{key}".encode(), raw)

    async def configure(self, **values: object) -> None:
        """Put live values, one after the other, in this order."""
        for key, value in values.items():
            await self.put(key, value)

    async def delete(self, key: str) -> None:
        async with connected(self.etcd_endpoint) as client:
            await client.delete(f"{self.etcd_prefix}{key}".encode())

    async def insert(self, count: int, *, content: str = "hello") -> list[int]:
        """Put messages in as its users do, by SQL. Their ids."""
        rows = await self.pool.fetch(
            "INSERT INTO messages (recipient_phone, content) "
            "SELECT '+90555' || lpad(n::text, 7, '0'), $2 FROM generate_series(1, $1) AS n RETURNING id",
            count,
            content,
        )
        return [row["id"] for row in rows]

    async def states(self) -> dict[str, int]:
        """How many messages are in each state that there is one in."""
        rows = await self.pool.fetch("SELECT state, count(*) AS messages FROM messages GROUP BY state")
        return {row["state"]: row["messages"] for row in rows}

    async def ids(self, state: str) -> set[int]:
        return {row["id"] for row in await self.pool.fetch("SELECT id FROM messages WHERE state = $1", state)}

    async def reaches(self, *, seconds: float, **states: int) -> None:
        """Wait until the messages are in exactly these states."""

        async def reached() -> bool:
            now = await self.states()
            if now != states:
                raise TimeoutError(f"states are {now}")
            return True

        await eventually(reached, seconds=seconds, what=f"states {states}")

    async def now(self) -> datetime:
        """Postgres's clock."""
        moment: datetime = await self.pool.fetchval("SELECT clock_timestamp()")
        return moment

    async def passes(self, moment: datetime, after: float = 0.0) -> None:
        """Wait until Postgres's clock is this many seconds past the moment."""
        until = moment + timedelta(seconds=after)

        async def passed() -> bool:
            return await self.now() > until

        await eventually(passed, seconds=60, what=f"Postgres's clock passes {until}")


@asynccontextmanager
async def running_cluster(
    folder: Path, servers: RunningServers, *, db_url: str, etcd_prefix: str
) -> AsyncIterator[Cluster]:
    """A cluster without replicas yet; those that a test starts are gone at the end."""
    redis_url, endpoints = servers.addresses.redis_addr, servers.addresses.etcd_endpoints
    assert redis_url is not None
    assert endpoints is not None
    async with connected_pool(db_url, application="acceptance", size=4) as pool:
        cluster = Cluster(folder, servers, db_url, redis_url, endpoints[0], etcd_prefix, pool)
        try:
            yield cluster
        finally:
            await asyncio.gather(*(replica.close() for replica in cluster.replicas))


@asynccontextmanager
async def running_own_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """A cluster on servers of its own, which whoever has it may stop, kill and start."""
    # tempfile and not the folder: Postgres runs as nobody where this runs as root, and has to get in
    with tempfile.TemporaryDirectory(prefix="dispatcher-test-", dir=servers_place()) as data:
        async with running_servers(Path(data), postgres=True, redis=True, etcd=True) as servers:
            db_url = servers.addresses.db_url
            assert db_url is not None
            await migrate(db_url)
            async with running_cluster(folder, servers, db_url=db_url, etcd_prefix="/app/config/") as running:
                yield running
