"""What every command that runs the service, or its servers, does first."""

import os

import structlog

from dispatcher import __version__
from dispatcher.kernel.errors import StartupError
from dispatcher.kernel.logging import configure_logging
from dispatcher.kernel.migrate import migrate, pending_migrations
from dispatcher.settings import Settings, unknown_variables

log = structlog.get_logger()


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


async def bring_up_to_date(settings: Settings, db_url: str) -> None:
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
