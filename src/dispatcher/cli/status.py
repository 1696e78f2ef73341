"""`dispatcher status`."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dispatcher.cli.api import Url, answer_of, call
from dispatcher.cli.console import cut, err, out, print_table
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.errors import UnavailableError

_EXIT = {"healthy": 0, "degraded": 1, "unhealthy": 2}
_COLOUR = {"healthy": "green", "degraded": "yellow", "unhealthy": "red", "up": "green", "down": "red"}
_SHOWN = 160


def status(
    *,
    json: Annotated[bool, typer.Option("--json", help="The API's answer as it is, for programs.")] = False,
    url: Url = None,
) -> None:
    """Show what works, what does not, when the next tick is due, and which live values are refused.

    Ends with 0 when healthy, 1 when degraded (no Redis, no etcd, a refused live value, a target that fails), and 2
    when unhealthy (no Postgres) or when no service answers: so a script can ask.

    Examples:
      dispatcher status
      dispatcher status --json
      dispatcher status > /dev/null || echo "look after it"
    """
    try:
        health = answer_of(call("GET", "/health", url=url))
    except UnavailableError as error:
        err.print(f"dispatcher: {error.detail}", style="red", markup=False)
        raise typer.Exit(2) from None
    if not isinstance(health, dict) or health.get("status") not in _EXIT:
        err.print("dispatcher: the answer of /health is not Dispatcher's; check --url", style="red")
        raise typer.Exit(2)
    if json:
        out.print_json(data=health)
    else:
        print_table(_table(health))
    raise typer.Exit(_EXIT[health["status"]])


def _table(health: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    word = health["status"]
    about = (
        f"{health['service']} {health['version']} on {health['replica']}, up {_span(health['uptime_seconds'])}"
        if "service" in health
        else "the rest is for the operator: set APP_API_KEY to the same as the service's"
    )
    table.add_row("status", Text.assemble((word, _COLOUR[word]), f"   {about}"))
    for name in ("postgres", "redis", "etcd", "console"):
        part = health[name]
        problem = f"   {cut(part['problem'], _SHOWN)}" if part["problem"] else ""
        table.add_row(name, Text.assemble((part["status"], _COLOUR[part["status"]]), problem))
    if "live_config" not in health:
        return table
    if health["scheduler"] is not None:
        for row in _scheduler(health["scheduler"]):
            table.add_row(*row)
    live = health["live_config"]
    if live["etcd_came_back_empty"]:
        table.add_row("live config", Text("etcd lost its data; the last good values stay in force", "red"))
    for key, reason in live["refused"].items():
        table.add_row("refused", Text(f"{cut(key, _SHOWN)}: {cut(reason, _SHOWN)}", "red"))
    return table


def _scheduler(state: dict[str, Any]) -> list[tuple[str, Text]]:
    word, colour = ("running", "green") if state["running"] else ("stopped", "yellow")
    if state["running"] and state["blocked"]:
        word, colour = f"blocked: {state['blocked']}", "red"
    elif state["target_paused"]:
        word = f"paused: the target fails; {state['probes']} probes so far, goes on by itself when one is answered"
        colour = "red"
    pace = f"{state['rate_limit']} messages every {state['interval_seconds']:g} s"
    rows = [("scheduler", Text(word, colour)), ("pace", Text(pace))]
    if state["next_tick_at"] is not None:
        wait = (datetime.fromisoformat(state["next_tick_at"]) - utc_now()).total_seconds()
        when = f"in {_span(wait)}" if wait > 0 else "now"
        rows.append(("next tick", Text(f"{when}   number {state['next_tick_no']}")))
    if state["ticks_waiting"] > 1 or state["ticks_dropped"]:
        rows.append(
            (
                "behind",
                Text(f"{state['ticks_waiting']} ticks waiting, {state['ticks_dropped']} dropped", "yellow"),
            )
        )
    return rows


def _span(seconds: float) -> str:
    """Seconds as people say them, e.g. 1.2 s, 3 min 20 s, 2 h 5 min."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours:.0f} h {minutes:.0f} min"
    return f"{minutes:.0f} min {int(rest)} s" if minutes else f"{rest:.1f} s"
