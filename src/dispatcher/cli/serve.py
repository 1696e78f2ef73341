"""`dispatcher serve`."""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Annotated

import structlog
import typer
import uvloop

from dispatcher.app import Addresses, Application
from dispatcher.channels.console_output import open_console
from dispatcher.cli.api_record import ApiRecord
from dispatcher.cli.interrupts import interrupts
from dispatcher.cli.live_file import read_live_file
from dispatcher.cli.sandbox import SAMPLES, welcome
from dispatcher.cli.servers import servers
from dispatcher.cli.serving import bind
from dispatcher.cli.serving import serve as serve_until_signal
from dispatcher.cli.starting import bring_up_to_date, logging_as, must_be_guarded
from dispatcher.embedded.receiver import running_receiver
from dispatcher.kernel.db import connected_pool
from dispatcher.kernel.errors import StartupError
from dispatcher.messages.insert import insert_if_empty
from dispatcher.settings import Settings, read_settings

log = structlog.get_logger()


def serve(
    *,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="For a first look: sample messages, and a sample receiver that plays the webhook "
            "for as long as no webhook_url is set.",
        ),
    ] = False,
) -> None:
    """Run the service: deliver messages and answer the API, until Ctrl-C or SIGTERM.

    Servers without an address in the environment (APP_DB_URL, APP_REDIS_ADDR, APP_REMOTE_ETCD_ENDPOINTS) are
    started here, with their data in APP_DATA_DIR (default: .dispatcher). `.env.example` lists every variable.
    Any number of services may run on the same servers: they share the work and the rate.

    Examples:
      dispatcher serve --sandbox
      APP_PORT=8081 APP_DATA_DIR=/var/lib/dispatcher dispatcher serve
      APP_DB_URL=postgres://user:password@db:5432/dispatcher dispatcher serve
    """
    console_fd = open_console()
    settings = read_settings(os.environ)
    must_be_guarded(settings)
    with logging_as(settings):
        uvloop.run(_serve(settings, console_fd=console_fd, sandbox=sandbox))


async def _serve(settings: Settings, *, console_fd: int | None, sandbox: bool) -> None:
    async with interrupts() as interrupt, AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.host, settings.port))
        port = listener.getsockname()[1]
        addresses, receiver = await _servers_and_receiver(stack, settings, sandbox=sandbox)
        await bring_up_to_date(settings, addresses.db_url)
        live_file = read_live_file(settings)
        if receiver is not None:
            live_file = {"webhook_url": f"{receiver}/webhook", **live_file}
            async with connected_pool(addresses.db_url, application="dispatcher sandbox", size=1) as pool:
                await insert_if_empty(pool, SAMPLES)
        url = f"{'https' if settings.use_https else 'http'}://{_shown_host(settings.host)}:{port}"
        record = ApiRecord(settings.data_dir)
        stack.callback(record.withdraw, url)

        def ready(_: Application) -> None:
            record.write(url)
            log.info("serving", url=url, pid=os.getpid(), env=settings.env)
            if receiver is not None:
                welcome(url, receiver=receiver, etcd=addresses.etcd_endpoints[0], prefix=settings.etcd_prefix)

        await serve_until_signal(
            settings,
            addresses,
            listener=listener,
            live_file=live_file,
            console_fd=console_fd,
            interrupt=interrupt,
            on_ready=ready,
        )
    log.info("stopped")


async def _servers_and_receiver(
    stack: AsyncExitStack, settings: Settings, *, sandbox: bool
) -> tuple[Addresses, str | None]:
    """Started at the same time: the receiver's imports take as long as the servers' start."""
    addresses: asyncio.Task[Addresses] | None = None
    receiver: asyncio.Task[str] | None = None
    failed: StartupError | None = None
    try:
        async with asyncio.TaskGroup() as starting:
            # First: it makes the data folder, with a mode that lets Postgres in.
            addresses = starting.create_task(stack.enter_async_context(servers(settings)))
            if sandbox:
                receiver = starting.create_task(
                    stack.enter_async_context(running_receiver(settings.data_dir))
                )
    except* StartupError as group:
        failed = next(error for error in group.exceptions if isinstance(error, StartupError))
    if failed is not None:
        raise failed
    assert addresses is not None
    return addresses.result(), receiver.result() if receiver is not None else None


def _shown_host(host: str) -> str:
    wildcard = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not bound to
    return wildcard.get(host, f"[{host}]" if ":" in host else host)
