"""`dispatcher sent`."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dispatcher.cli.api import Url, call_json
from dispatcher.cli.console import cut, out, print_table

_RECIPIENT_SHOWN, _CONTENT_SHOWN, _RECEIPT_SHOWN = 40, 48, 64


def sent(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The latest so many.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="The API's answer as it is, for programs.")] = False,
    url: Url = None,
) -> None:
    """List the messages sent last, newest first, with the id that the receiver gave each.

    Examples:
      dispatcher sent
      dispatcher sent --limit 100 --json
      dispatcher psql -c "SELECT count(*) FROM messages WHERE sent_status"
    """
    messages = call_json("GET", "/sent", url=url, query={"limit": limit})
    if json:
        out.print_json(data=messages)
    elif not messages:
        out.print("Nothing has been sent yet; `dispatcher status` says what comes next.")
    else:
        print_table(_table(messages))


def _table(messages: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("to", no_wrap=True)
    table.add_column("content", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("sent at", no_wrap=True)
    table.add_column("messageId", overflow="ellipsis", no_wrap=True)
    for message in messages:
        table.add_row(
            str(message["id"]),
            Text(cut(message["recipient_phone"], _RECIPIENT_SHOWN)),
            Text(cut(message["content"], _CONTENT_SHOWN)),
            f"{datetime.fromisoformat(message['sent_at']).astimezone():%Y-%m-%d %H:%M:%S}",
            Text(cut(message["messageId"] or "-", _RECEIPT_SHOWN)),
        )
    return table
