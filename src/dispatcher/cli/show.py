"""`dispatcher show`."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dispatcher.cli.api import Url, call_json
from dispatcher.cli.console import cut, out, print_table

_SHOWN = 160
_TIMES = ("deliver_at", "sent_at", "created_at")


def show(
    message: Annotated[int, typer.Argument(min=0, help="The message's id.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="The API's answer as it is, for programs.")] = False,
    url: Url = None,
) -> None:
    """Show one message and every attempt made for it.

    Examples:
      dispatcher show 42
      dispatcher show 42 --json
    """
    found = call_json("GET", f"/messages/{message}", url=url)
    if json:
        out.print_json(data=found)
        return
    print_table(_message(found))
    if found["attempts"]:
        out.print()
        print_table(_attempts(found["attempts"]))


def _message(found: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in found.items():
        if name not in {"attempts", "sent_status"} and value is not None:
            table.add_row(name, Text(_when(value) if name in _TIMES else cut(str(value), _SHOWN)))
    return table


def _attempts(attempts: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("attempt", "started at", "ms", "outcome", "status"):
        table.add_column(column, no_wrap=True)
    table.add_column("error or answer", overflow="ellipsis", no_wrap=True, ratio=1)
    for attempt in attempts:
        table.add_row(
            str(attempt["number"]),
            _when(attempt["started_at"]),
            str(attempt["duration_ms"]),
            attempt["outcome"],
            str(attempt["status"] or "-"),
            Text(cut(attempt["error"] or attempt["response_excerpt"] or "-", _SHOWN)),
        )
    return table


def _when(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
