"""The sandbox: ten sample messages, and what a newcomer is told."""

from rich.panel import Panel

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


def welcome(url: str, *, receiver: str, etcd: str) -> None:
    """Say where to look and what to try next."""
    err.print(
        Panel(
            f"""Two messages go out at once, and two more every two minutes.

[bold]Look[/]
  {receiver}/   what the sample receiver got
  {url}/docs   the API, to try out
  {url}/health   what works and what does not

[bold]Try[/] [dim](in another terminal, in this folder)[/]
  .venv/bin/dispatcher psql -c "INSERT INTO messages (recipient_phone, content) VALUES ('+905551111111', 'Hello')"
  .venv/bin/etcdctl --endpoints={etcd} put /app/config/scheduler_interval 1
  curl {url}/sent
  curl -X POST {url}/stop
  .venv/bin/dispatcher --help

Ctrl-C stops everything; the data stays.""",
            title="Dispatcher runs",
            expand=False,
        )
    )
