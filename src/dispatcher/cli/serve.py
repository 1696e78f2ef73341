"""`dispatcher serve` and `dispatcher services`."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import structlog
import typer

from dispatcher import __version__
from dispatcher.app import Application
from dispatcher.cli.console import out
from dispatcher.cli.sandbox import SAMPLES, welcome
from dispatcher.cli.servers import servers
from dispatcher.cli.serving import bind, interrupts
from dispatcher.cli.serving import serve as serve_until_signal
from dispatcher.embedded.receiver import running_receiver
from dispatcher.embedded.servers import embedded_servers, shell_lines
from dispatcher.kernel.db import connected_pool
from dispatcher.kernel.errors import StartupError
from dispatcher.kernel.logging import configure_logging
from dispatcher.kernel.migrate import migrate, pending_migrations
from dispatcher.live_config.resolve import read_file
from dispatcher.messages.insert import insert_if_empty
from dispatcher.settings import Settings, read_settings, unknown_variables

log = structlog.get_logger()

DEFAULT_FILE = Path("configs/dynamic_config.yaml")


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

    Examples:
      dispatcher serve --sandbox
      APP_PORT=8081 APP_DB_URL=postgres://user:password@db:5432/dispatcher dispatcher serve
    """
    settings = read_settings(os.environ)
    start_logging(settings)
    asyncio.run(_serve(settings, sandbox=sandbox))


def services() -> None:
    """Run Postgres, Redis and etcd alone, so that several `dispatcher serve` can share them, until Ctrl-C.

    Prints the lines to paste into the other shells; they are also in APP_DATA_DIR/env:

      . .dispatcher/env && APP_PORT=8081 dispatcher serve
    """
    settings = read_settings(os.environ)
    start_logging(settings)
    asyncio.run(_services(settings))


def start_logging(settings: Settings) -> None:
    """Logs as the settings ask; and a word about variables that mean nothing."""
    configure_logging(
        level=settings.log_level,
        env=settings.log_format,
        service=settings.service_name,
        version=__version__,
        replica=settings.replica,
    )
    for name, meant in unknown_variables(os.environ).items():
        log.warning("unknown_variable", variable=name, **({"did_you_mean": meant} if meant else {}))


async def _serve(settings: Settings, *, sandbox: bool) -> None:
    async with interrupts() as interrupt, AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.host, settings.port))
        port = listener.getsockname()[1]
        addresses = await stack.enter_async_context(servers(settings))
        receiver = await stack.enter_async_context(running_receiver(settings.data_dir)) if sandbox else None
        await _bring_up_to_date(settings, addresses.db_url)
        live_file = read_file(
            settings.dynamic_config or DEFAULT_FILE, required=settings.dynamic_config is not None
        )
        if receiver is not None:
            live_file = {"webhook_url": f"{receiver}/webhook", **live_file}
            async with connected_pool(addresses.db_url, application="dispatcher sandbox", size=1) as pool:
                await insert_if_empty(pool, SAMPLES)
        url = f"{'https' if settings.use_https else 'http'}://{_shown_host(settings.host)}:{port}"
        stack.callback(api_record(settings).unlink, missing_ok=True)

        def ready(_: Application) -> None:
            api_record(settings).parent.mkdir(parents=True, exist_ok=True)
            api_record(settings).write_text(url)
            log.info("serving", url=url, pid=os.getpid(), env=settings.env)
            if receiver is not None and sys.stderr.isatty() | sandbox:
                welcome(url, receiver=receiver, etcd=addresses.etcd_endpoints[0])

        await serve_until_signal(
            settings, addresses, listener=listener, live_file=live_file, interrupt=interrupt, on_ready=ready
        )
    log.info("stopped")


async def _services(settings: Settings) -> None:
    async with (
        interrupts() as interrupt,
        embedded_servers(settings.data_dir, postgres=True, redis=True, etcd=True) as started,
    ):
        await _bring_up_to_date(settings, started.db_url or "")
        out.print("\n".join(shell_lines(started)))
        out.file.flush()
        stopped = asyncio.Event()
        interrupt.now_stop(stopped.set)
        await stopped.wait()


async def _bring_up_to_date(settings: Settings, db_url: str) -> None:
    """Migrate in local and dev; refuse an old schema in production, where a person decides when."""
    if settings.env != "production":
        applied = await migrate(db_url)
        if applied:
            log.info("migrated", revisions=applied)
        return
    missing = await pending_migrations(db_url)
    if missing:
        raise StartupError(
            f"the database lacks the migrations {', '.join(missing)}; run `dispatcher migrate` once, then start again"
        )


def api_record(settings: Settings) -> Path:
    """Where a service notes its API's address for the other commands."""
    return settings.data_dir / "api-url"


def _shown_host(host: str) -> str:
    wildcard = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not bound to
    return wildcard.get(host, f"[{host}]" if ":" in host else host)
