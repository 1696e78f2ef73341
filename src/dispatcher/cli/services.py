"""`dispatcher services`."""

import asyncio
import os

from dispatcher.cli.console import out
from dispatcher.cli.interrupts import interrupts
from dispatcher.cli.starting import bring_up_to_date, logging_as
from dispatcher.embedded.servers import embedded_servers, shell_lines
from dispatcher.settings import Settings, read_settings


def services() -> None:
    """Run Postgres, Redis and etcd alone, until Ctrl-C, so that several services can share them.

    Their data is in APP_DATA_DIR (default: .dispatcher). Prints the lines to paste into the other shells; they
    are also in the file env of that folder.

    Examples, one shell each:
      dispatcher services
      . .dispatcher/env && APP_PORT=8081 dispatcher serve
      . .dispatcher/env && APP_PORT=8082 dispatcher serve
    """
    settings = read_settings(os.environ)
    with logging_as(settings):
        asyncio.run(_services(settings))


async def _services(settings: Settings) -> None:
    async with (
        interrupts() as interrupt,
        embedded_servers(settings.data_dir, postgres=True, redis=True, etcd=True) as started,
    ):
        await bring_up_to_date(settings, started.db_url or "")
        out.print("\n".join(shell_lines(started)), markup=False)
        out.file.flush()
        stopped = asyncio.Event()
        interrupt.now_stop(stopped.set)
        await stopped.wait()
