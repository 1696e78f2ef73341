"""The command `dispatcher`: its subcommands, and how errors end it."""

import asyncio
import sys

import typer

from dispatcher.cli import serve as serving
from dispatcher.cli.console import err
from dispatcher.kernel.errors import DispatcherError

app = typer.Typer(
    name="dispatcher",
    help="Deliver messages to a webhook at an exact rate.\n\nStart with: dispatcher serve --sandbox",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(serving.serve)
app.command()(serving.services)


def main() -> None:
    """Run the command; an error that a person can act on is one line, not a traceback."""
    try:
        app()
    except DispatcherError as error:
        err.print(f"dispatcher: {error.detail}", style="red", markup=False)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
