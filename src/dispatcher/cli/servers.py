"""Which Postgres, Redis and etcd a command uses: the environment's, or the embedded ones of the data folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dispatcher.app import Addresses
from dispatcher.embedded.servers import embedded_servers
from dispatcher.settings import Settings


@asynccontextmanager
async def servers(settings: Settings) -> AsyncIterator[Addresses]:
    """The servers of these settings; those without an address are started, and run during the block."""
    given_db = settings.db_url.get_secret_value() if settings.db_url else None
    if given_db and settings.redis_url and settings.etcd_endpoints:
        yield Addresses(given_db, settings.redis_url, settings.etcd_endpoints)
        return
    async with embedded_servers(
        settings.data_dir,
        postgres=given_db is None,
        redis=settings.redis_url is None,
        etcd=settings.etcd_endpoints is None,
    ) as started:
        db_url = given_db or started.db_url
        redis_url = settings.redis_url or started.redis_addr
        etcd_endpoints = settings.etcd_endpoints or started.etcd_endpoints
        assert db_url
        assert redis_url
        assert etcd_endpoints
        yield Addresses(db_url, redis_url, etcd_endpoints)
