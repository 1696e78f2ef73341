"""`dispatcher psql`."""

import os
from urllib.parse import unquote, urlsplit

import typer

from dispatcher.cli.known import known_db_url
from dispatcher.embedded.postgres import psql_path
from dispatcher.settings import read_settings

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[ARGUMENTS OF PSQL]...",
)
def psql(context: typer.Context) -> None:
    """Open the service's database in psql; nothing needs to be installed.

    The database is APP_DB_URL, else the embedded one of a service that runs on APP_DATA_DIR. Every argument goes
    to psql as it is. Leave with Ctrl-D.

    Examples:
      dispatcher psql
      dispatcher psql -c "SELECT state, count(*) FROM messages GROUP BY 1"
      dispatcher psql --csv -c "TABLE attempts" > attempts.csv
    """
    url, password = without_password(known_db_url(read_settings(os.environ)))
    if password is not None:
        os.environ["PGPASSWORD"] = password
    program = str(psql_path())
    os.execv(program, [program, "--dbname", url, *context.args])  # noqa: S606 - this is the command


def without_password(url: str) -> tuple[str, str | None]:
    """The address and its password apart: everybody on the machine can read a command's arguments."""
    parts = urlsplit(url)
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if not colon:
        return url, None
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}@{host}").geturl(), unquote(password)
