"""The sandbox: ten sample messages, and what a newcomer is told."""

import shlex
import sys
from pathlib import Path

from rich.markup import escape

from dispatcher.cli.console import err
from dispatcher.messages.insert import NewMessage

SAMPLES = [
    NewMessage(f"+90555111{number:04}", text)
    for number, text in enumerate(
        (
            "Welcome aboard! Your account is ready.",
            "Your code is 481516. It works for ten minutes.",
            "Order 2342 has left the warehouse.",
            "Your table for two is booked for 19:30.",
            "The parcel is waiting at your neighbour's.",
            "Reminder: dentist tomorrow at 09:15.",
            "Your invoice for November is in your inbox.",
            "Train 87 leaves from platform 4 today.",
            "Thank you! We received your payment.",
            "Last one: after this, put in messages of your own.",
        ),
        start=1,
    )
]


def welcome(url: str, *, receiver: str, etcd: str, prefix: str) -> None:
    """Say where to look and what to try next. No box: every command can be copied whole, however narrow the window."""
    activate = Path(sys.prefix) / "bin" / "activate"
    here = f". {escape(shlex.quote(str(activate)))}   [dim]once: finds dispatcher and etcdctl[/]\n  "
    err.print(
        f"""
[bold green]Dispatcher runs.[/] Two messages go out at once, and two more every two minutes.

[bold]Look[/]
  {receiver}/   [dim]what the sample receiver got[/]
  {url}/docs   [dim]the API, to try out[/]
  {url}/health   [dim]what works and what does not[/]

[bold]Try[/] [dim](in another terminal, in this folder)[/]
  {here if activate.is_file() else ""}dispatcher psql -c "INSERT INTO messages (recipient_phone, content) VALUES ('+905551111111', 'Hello')"
  dispatcher echo "Hello" --in 5s   [dim]printed here, in five seconds[/]
  etcdctl --endpoints={etcd} put {prefix}scheduler_interval 1
  curl {url}/sent
  curl -X POST {url}/stop
  dispatcher chat alice --to bob   [dim]and, in one more terminal, the other way round[/]
  dispatcher --help

[dim]Ctrl-C stops everything; the data stays.[/]
"""
    )
