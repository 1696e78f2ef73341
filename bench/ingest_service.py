"""The service as `dispatcher serve` runs it, and beside it, in the same process, an empty FastAPI application.

`python -m bench.ingest_service PORT EMPTY-PORT`, with the servers' addresses in the environment.
"""

import asyncio
import os
import sys

import uvicorn
import uvloop
from fastapi import FastAPI

from dispatcher.app import Addresses, running
from dispatcher.cli.serving import settle_heap
from dispatcher.cli.starting import bring_up_to_date, logging_as
from dispatcher.settings import Settings, read_settings


def server(api: FastAPI, port: int) -> uvicorn.Server:
    """Uvicorn as the service configures it."""
    return uvicorn.Server(uvicorn.Config(api, port=port, log_config=None, access_log=False))


async def main(settings: Settings, port: int, empty_port: int) -> None:
    """Serve both until killed."""
    assert settings.db_url
    assert settings.redis_url
    db_url = settings.db_url.get_secret_value()
    await bring_up_to_date(settings, db_url)
    empty = FastAPI()

    @empty.post("/")
    async def nothing() -> dict[str, str]:
        return {}

    addresses = Addresses(db_url, settings.redis_url, settings.etcd_endpoints or ())
    async with running(
        settings, addresses, live_file={"auto_sending": False}, console_fd=None
    ) as application:
        settle_heap()
        await asyncio.gather(server(application.api, port).serve(), server(empty, empty_port).serve())


if __name__ == "__main__":
    found = read_settings(os.environ)
    with logging_as(found):
        uvloop.run(main(found, int(sys.argv[1]), int(sys.argv[2])))
