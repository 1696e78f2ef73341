"""The command `dispatcher`: its subcommands, and how errors end it."""

import asyncio
import sys
from typing import Annotated

import typer

from dispatcher import __version__
from dispatcher.cli.console import err, out
from dispatcher.cli.lazy import Entry, lazy_group
from dispatcher.kernel.errors import DispatcherError

_RUN, _MESSAGES, _CHAT, _OPERATE = "Run", "Messages", "Chat", "Look and steer"
COMMANDS = {
    "serve": Entry("dispatcher.cli.serve", "serve", "Run the service. First look: serve --sandbox", _RUN),
    "services": Entry("dispatcher.cli.services", "services", "Run Postgres, Redis and etcd alone.", _RUN),
    "migrate": Entry("dispatcher.cli.migrate", "migrate", "Bring the database's schema up to date.", _RUN),
    "demo": Entry("dispatcher.cli.demo", "demo", "See it all in under a minute.", _RUN),
    "send": Entry("dispatcher.cli.send", "send", "Put in one message, or a CSV or NDJSON file.", _MESSAGES),
    "echo": Entry("dispatcher.cli.echo", "echo", "Print a text on the console at a time.", _MESSAGES),
    "sent": Entry("dispatcher.cli.sent", "sent", "List what was sent, newest first.", _MESSAGES),
    "show": Entry("dispatcher.cli.show", "show", "Show one message and its attempts.", _MESSAGES),
    "cancel": Entry("dispatcher.cli.change", "cancel", "Cancel what is pending, one or all.", _MESSAGES),
    "move": Entry("dispatcher.cli.change", "move", "Give what is pending another time.", _MESSAGES),
    "retry": Entry(
        "dispatcher.cli.change", "retry", "Send once more what has failed, one or all.", _MESSAGES
    ),
    "resolve": Entry("dispatcher.cli.change", "resolve", "Say what became of what is uncertain.", _MESSAGES),
    "chat": Entry("dispatcher.cli.chat", "chat", "Talk to somebody, or in a group.", _CHAT),
    "status": Entry(
        "dispatcher.cli.status", "status", "What works, what does not, what comes next.", _OPERATE
    ),
    "start": Entry("dispatcher.cli.switch", "start", "Start sending, on every replica.", _OPERATE),
    "stop": Entry("dispatcher.cli.switch", "stop", "Stop sending, on every replica.", _OPERATE),
    "config": Entry("dispatcher.cli.config", "config", "Read and change the live configuration.", _OPERATE),
    "token": Entry("dispatcher.cli.token", "token", "Make a user's token, to try chat out.", _OPERATE),
    "psql": Entry("dispatcher.cli.psql", "app", "Open the database in psql.", _OPERATE),
    "version": Entry("dispatcher.cli.version", "version", "Print the version.", _OPERATE),
}

app = typer.Typer(
    name="dispatcher",
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value alone
    if wanted:
        out.print(f"dispatcher {__version__}")
        raise typer.Exit


@app.callback()
def dispatcher(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Deliver messages to a webhook at an exact rate, on any number of replicas.

    Start with: dispatcher serve --sandbox

    Each command explains itself: dispatcher send --help
    """


def main() -> None:
    """Run the command; an error that a person can act on is one line, not a traceback."""
    try:
        app()
    except DispatcherError as error:
        err.print(f"dispatcher: {error.detail}", style="red", markup=False)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)


if __name__ == "__main__":
    main()
