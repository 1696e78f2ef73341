"""`dispatcher start` and `dispatcher stop`."""

from typing import Annotated, Any

import typer

from dispatcher.cli.api import Url, call_json
from dispatcher.cli.console import out

Lane = Annotated[
    str | None,
    typer.Option(
        "--lane", help="Only this lane: webhook, console, chat or push.", show_default="all of them"
    ),
]


def start(*, lane: Lane = None, url: Url = None) -> None:
    """Start sending, on every replica.

    The next tick is due at once, but never sooner than one interval after the last one. It is remembered: a
    service that restarts goes on sending. Starting what runs already changes nothing.

    Examples:
      dispatcher start
      dispatcher start --lane console
      dispatcher start --url http://10.0.0.7:8080
    """
    _print(call_json("POST", "/start", url=url, query={"lane": lane} if lane else None))


def stop(*, lane: Lane = None, url: Url = None) -> None:
    """Stop sending, on every replica, e.g. because the provider has trouble.

    When this returns, no replica claims another message; what was claimed already is finished. It is remembered:
    a service that restarts stays stopped. New messages are still taken, and wait.

    Examples:
      dispatcher stop
      dispatcher stop --lane console
      dispatcher stop --url http://10.0.0.7:8080
    """
    _print(call_json("POST", "/stop", url=url, query={"lane": lane} if lane else None))


def _print(answer: Any) -> None:
    scheduler = answer["scheduler"]
    if scheduler["rate_limit"] is None:
        out.print(f"{answer['status']}: lane {scheduler['lane']}, each message at its time", markup=False)
        return
    pace = f"{scheduler['rate_limit']} messages every {scheduler['interval_seconds']:g} s"
    blocked = f", but nothing is sent: {scheduler['blocked']}" if scheduler["blocked"] else ""
    out.print(f"{answer['status']}: {pace}, next tick {scheduler['next_tick_no']}{blocked}", markup=False)
