"""`dispatcher start` and `dispatcher stop`."""

from typing import Any

from dispatcher.cli.api import Url, call_json
from dispatcher.cli.console import out


def start(*, url: Url = None) -> None:
    """Start sending, on every replica.

    The next tick is due at once, but never sooner than one interval after the last one. It is remembered: a
    service that restarts goes on sending. Starting what runs already changes nothing.

    Examples:
      dispatcher start
      dispatcher start --url http://10.0.0.7:8080
    """
    _print(call_json("POST", "/start", url=url))


def stop(*, url: Url = None) -> None:
    """Stop sending, on every replica, e.g. because the provider has trouble.

    When this returns, no replica claims another message; what was claimed already is finished. It is remembered:
    a service that restarts stays stopped. New messages are still taken, and wait.

    Examples:
      dispatcher stop
      dispatcher stop --url http://10.0.0.7:8080
    """
    _print(call_json("POST", "/stop", url=url))


def _print(answer: Any) -> None:
    scheduler = answer["scheduler"]
    pace = f"{scheduler['rate_limit']} messages every {scheduler['interval_seconds']:g} s"
    blocked = f", but nothing is sent: {scheduler['blocked']}" if scheduler["blocked"] else ""
    out.print(f"{answer['status']}: {pace}, next tick {scheduler['next_tick_no']}{blocked}", markup=False)
