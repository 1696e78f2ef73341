"""`dispatcher migrate`."""

import asyncio
import os
from typing import Annotated

import typer

from dispatcher.cli.console import out
from dispatcher.cli.known import known_db_url
from dispatcher.kernel.migrate import migrate as bring_up_to_date
from dispatcher.kernel.migrate import pending_migrations
from dispatcher.settings import read_settings


def migrate(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; say what is missing, and end with 1 if anything is."),
    ] = False,
) -> None:
    """Bring the database's schema up to date, in one transaction.

    In production (APP_ENV=production) run it once before the new version starts: there a service refuses an old
    schema. In local and dev every start does it by itself. Running it again, or twice at once, is harmless.

    The database is APP_DB_URL, else the embedded one of a service that runs on APP_DATA_DIR.

    Examples:
      dispatcher migrate
      dispatcher migrate --check
      APP_DB_URL=postgres://user:password@db:5432/dispatcher dispatcher migrate
    """
    db_url = known_db_url(read_settings(os.environ))
    if check:
        missing = asyncio.run(pending_migrations(db_url))
        if missing:
            out.print(f"Missing: {', '.join(missing)}; `dispatcher migrate` applies them.")
            raise typer.Exit(1)
    else:
        applied = asyncio.run(bring_up_to_date(db_url))
        if applied:
            out.print(f"Applied: {', '.join(applied)}.")
            return
    out.print("The database is up to date.")
