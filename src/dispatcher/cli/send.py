"""`dispatcher send`."""

import asyncio
import os
import sys
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from dispatcher.cli.console import err, out
from dispatcher.cli.known import known_db_url
from dispatcher.cli.lines import Readable
from dispatcher.cli.rows import Format, format_of, message_problem
from dispatcher.cli.rows_of import batches_of
from dispatcher.cli.send_file import FileSending
from dispatcher.kernel.db import connected_pool
from dispatcher.kernel.errors import InvalidRequestError, StartupError
from dispatcher.messages.insert import NewMessage, insert
from dispatcher.settings import read_settings


def send(
    recipient: Annotated[str | None, typer.Argument(help="Whom it goes to, e.g. +905551111111.")] = None,
    content: Annotated[str | None, typer.Argument(help="The text, at most 160 characters.")] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="Many messages: a CSV or NDJSON file, or - for standard input."),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="The file's format, where its name does not say it.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that cannot be sent, and say which.")
    ] = False,
) -> None:
    """Put messages in; they are sent in this order, as soon as the rate allows.

    One message: its id is printed. Many: a CSV file with the header recipient_phone,content or an NDJSON file
    (one JSON object with these two keys a line), in UTF-8, of any size. It goes in batch by batch; a bad row stops
    before its batch, and you are told the line, the reason, and which lines are in.

    Goes straight to the database (APP_DB_URL, else the embedded one of a service that runs on APP_DATA_DIR), so it
    works while the service is stopped.

    Examples:
      dispatcher send +905551111111 "Your code is 481516"
      dispatcher send --file messages.csv
      echo '{"recipient_phone": "+90555", "content": "Hi"}' | dispatcher send -f -
    """
    if (file is None) == (recipient is None) or (file is None and content is None):
        raise InvalidRequestError(
            'give a recipient and a text, or a file: dispatcher send +905551111111 "Hello" '
            "or dispatcher send --file messages.csv"
        )
    db_url = known_db_url(read_settings(os.environ))
    try:
        if recipient is not None and content is not None:
            asyncio.run(_send_one(db_url, NewMessage(recipient, content)))
        else:
            _send_file(db_url, str(file), form, skip_bad=skip_bad)
    except asyncpg.UndefinedTableError:
        raise StartupError(
            "the database has no messages table yet; run `dispatcher migrate`, then send again"
        ) from None


async def _send_one(db_url: str, message: NewMessage) -> None:
    reason = message_problem(message)
    if reason is not None:
        raise InvalidRequestError(reason)
    async with connected_pool(db_url, application="dispatcher send", size=1) as pool:
        out.print((await insert(pool, [message]))[0])


def _send_file(db_url: str, name: str, form: Format | None, *, skip_bad: bool) -> None:
    with ExitStack() as stack:
        stream, size = _open(stack, name)
        form = form or (None if name == "-" else format_of(name))
        progress = stack.enter_context(
            Progress(
                TextColumn("{task.fields[inserted]:,} inserted"),
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
                console=err,
                transient=True,
                disable=not err.is_terminal,
            )
        )
        task = progress.add_task("", total=size, inserted=0)
        read = ByteCount()
        sending = FileSending(
            batches_of(stream, form, progress=read.add),
            skip_bad=skip_bad,
            on_inserted=lambda n: progress.update(task, inserted=n, completed=read.total),
        )
        sending.send(db_url)
    sending.report_skipped(err)
    out.print(f"Inserted {sending.inserted:,} messages.")


class ByteCount:
    """How much of the file has been read. Shown once a batch: to redraw for each row would cost more than the row."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, read: int) -> None:
        """So many more."""
        self.total += read


def _open(stack: ExitStack, name: str) -> tuple[Readable, int | None]:
    if name == "-":
        assert isinstance(sys.stdin.buffer, BufferedReader)
        return sys.stdin.buffer, None
    path = Path(name)
    try:
        stream = stack.enter_context(path.open("rb"))
    except OSError as error:
        raise InvalidRequestError(f"--file: cannot read {name}: {error.strerror}") from None
    return stream, path.stat().st_size or None  # a pipe has no size
