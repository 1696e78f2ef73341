"""What every command that runs the service, or its servers, does first."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

import structlog

from dispatcher import __version__
from dispatcher.kernel.address import parsed_url
from dispatcher.kernel.errors import StartupError
from dispatcher.kernel.log_files import LogFiles
from dispatcher.kernel.log_upkeep import kept_up
from dispatcher.kernel.logging import configure_logging
from dispatcher.kernel.revision import is_up_to_date
from dispatcher.settings import Settings, unknown_variables

log = structlog.get_logger()


FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def logging_as(settings: Settings) -> Iterator[None]:
    """Logs as the settings ask, for as long as the block runs; and a word about variables that mean nothing.

    Raises:
        StartupError: LOG_DIR is set to a directory that cannot be used. One that is merely full, or the default where
            that cannot be made, is no reason not to deliver: a warning says so, and it is tried again and again.
    """
    with ExitStack() as stack:
        files = None
        if settings.log_dir is not None:
            files = LogFiles(settings.log_dir.absolute())
            _try_out(files, demanded="log_dir" in settings.model_fields_set)
        configure_logging(
            level=settings.log_level,
            env=settings.log_format,
            service=settings.service_name,
            version=__version__,
            replica=settings.replica,
            files=files,
        )
        for name, meant in unknown_variables(os.environ).items():
            log.warning("unknown_variable", variable=name, **({"did_you_mean": meant} if meant else {}))
        if files is not None:
            stack.enter_context(kept_up(files, keep_days=settings.log_retention_days))
        yield


def _try_out(files: LogFiles, *, demanded: bool) -> None:
    try:
        files.open()
    except OSError as error:
        if demanded and error.errno not in FULL:
            raise StartupError(
                f"LOG_DIR: cannot write log files in {files.directory} ({error.strerror}); make it writable, choose "
                "another directory, or write none: LOG_DIR=off"
            ) from None


def must_be_guarded(settings: Settings) -> None:
    """Nothing, when whoever can reach the API must prove who they are, or is on this machine.

    Raises:
        StartupError: Anybody could start, stop and read everything.
    """
    if settings.env == "production" and _can_be_forged(settings.token_jwks):
        raise StartupError(
            "APP_TOKEN_JWKS: over http whoever is on the way can put in keys of their own, and be anybody; "
            "in production it must be https, a file, or on this machine"
        )
    missing = []
    if settings.api_key is None:
        missing.append("APP_API_KEY (the operator's key)")
    if not settings.has_token_keys:
        missing.append("APP_TOKEN_SECRET or APP_TOKEN_JWKS (for users' tokens)")
    if not missing:
        return
    if settings.env == "production":
        raise StartupError(
            f"APP_ENV=production: set {' and '.join(missing)}; e.g. APP_API_KEY=$(openssl rand -hex 24)"
        )
    if not _is_loopback(settings.host) and not settings.trusted_network:
        raise StartupError(
            f"APP_HOST: {settings.host} is open to others, and nobody would have to prove who they are; "
            f"set {' and '.join(missing)}, or APP_HOST=127.0.0.1"
        )


def _can_be_forged(source: str | None) -> bool:
    if source is None or not source.startswith("http://"):
        return False
    return not _is_loopback((parsed_url(source).host or "").strip("[]"))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def bring_up_to_date(settings: Settings, db_url: str) -> None:
    """Migrate in local and dev; refuse an old schema in production, where a person decides when."""
    if await is_up_to_date(db_url):
        return
    from dispatcher.kernel.migrate import migrate, pending_migrations  # noqa: PLC0415 - `revision.py` says why

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
