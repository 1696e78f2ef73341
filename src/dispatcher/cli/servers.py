"""Which Postgres, Redis and etcd a command uses: the environment's, or the embedded ones of the data folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dispatcher.app import Addresses
from dispatcher.embedded.servers import embedded_servers, recorded_addresses
from dispatcher.kernel.errors import StartupError
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


def known_db_url(settings: Settings) -> str:
    """The database of a service that runs: APP_DB_URL, or the embedded one of the data folder.

    Raises:
        StartupError: Neither is there.
    """
    if settings.db_url is not None:
        return settings.db_url.get_secret_value()
    running = recorded_addresses(settings.data_dir)
    if running is not None and running.db_url is not None:
        return running.db_url
    raise StartupError(_nothing_runs(settings, "APP_DB_URL"))


def known_etcd(settings: Settings) -> tuple[str, ...]:
    """The etcd of a service that runs; like `known_db_url`."""
    if settings.etcd_endpoints is not None:
        return settings.etcd_endpoints
    running = recorded_addresses(settings.data_dir)
    if running is not None and running.etcd_endpoints is not None:
        return running.etcd_endpoints
    raise StartupError(_nothing_runs(settings, "APP_REMOTE_ETCD_ENDPOINTS"))


def _nothing_runs(settings: Settings, variable: str) -> str:
    return (
        f"{variable} is not set, and nothing runs on the folder {settings.data_dir}; "
        f"start the service (make run), or set {variable}"
    )
