"""`dispatcher config`: the live configuration in etcd."""

import asyncio
import sys
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dispatcher.cli.console import cut, out, print_table
from dispatcher.cli.live_keys import MOST_SHOWN, known_key, live_keys, refused, shown_value
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.live_config.model import SECRET_KEYS, LiveConfig
from dispatcher.live_config.resolve import MAX_VALUE_BYTES

config = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False
)
Key = Annotated[str, typer.Argument(help="A key, as `dispatcher config list` shows them.")]


@config.callback()
def about() -> None:
    """Read and change the live configuration, which every running service follows at once, without a restart.

    It is in etcd, one key a value, under APP_REMOTE_ETCD_PREFIX (default: /app/config/); etcdctl does the same.
    A key that is not in etcd has the value of the YAML file (APP_DYNAMIC_CONFIG), else the default.

    Examples:
      dispatcher config list
      dispatcher config set scheduler_interval 1
      dispatcher config unset scheduler_interval
    """


@config.command("list")
def list_() -> None:
    """Show every key with its value in etcd, its default and its meaning.

    Secrets show as (set), the webhook's address without its path.

    Examples:
      dispatcher config list
      dispatcher config list | grep webhook
    """
    entries = asyncio.run(live_keys().all())
    reasons = refused(entries)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("key", "in etcd", "default"):
        table.add_column(name, overflow="fold" if name == "in etcd" else "ellipsis")
    table.add_column("meaning", ratio=1)
    for key, field in LiveConfig.model_fields.items():
        value = cut(shown_value(key, entries[key]), MOST_SHOWN) if key in entries else "-"
        meaning = Text(field.description or "")
        if key in reasons:
            meaning = Text(f"Refused: {reasons[key]}", "red")
        default = "-" if field.default is None else str(field.default)
        table.add_row(key, Text(value, "bold" if key in entries else ""), default, meaning)
    for key in sorted(entries.keys() - LiveConfig.model_fields.keys()):
        table.add_row(Text(cut(key, MOST_SHOWN)), "…", "-", Text("Refused: unknown key", "red"))
    print_table(table)


@config.command("get")
def get(key: Key) -> None:
    """Print a key's value in etcd, or - where it is not set there.

    Examples:
      dispatcher config get rate_limit
      dispatcher status --json   (all the values in force, with their sources)
    """
    entries = asyncio.run(live_keys().all())
    value = entries.get(known_key(key))
    out.print("-" if value is None else cut(shown_value(key, value), MAX_VALUE_BYTES), markup=False)


@config.command("set")
def set_(
    key: Key,
    value: Annotated[
        str, typer.Argument(help="The new value; - reads it from standard input, or asks for it.")
    ],
) -> None:
    """Change a value. What a service would refuse is refused here, with the same reason, and not written.

    Give a secret as - : then it is asked for, or read from standard input, and stays out of the shell's history.

    Examples:
      dispatcher config set rate_limit 5
      dispatcher config set webhook_url https://example.com/hook
      dispatcher config set webhook_auth_key -
    """
    known_key(key)
    raw = _read(key) if value == "-" else value.encode(errors="surrogateescape")
    asyncio.run(_set(key, raw))
    out.print(f"{key} = {cut(shown_value(key, raw), MOST_SHOWN)}", markup=False)


@config.command("unset")
def unset(
    key: Annotated[str, typer.Argument(help="A key; also one that is unknown to the service.")],
) -> None:
    """Delete a key from etcd: the value of the YAML file, or the default, counts again.

    Examples:
      dispatcher config unset rate_limit
      dispatcher config unset webhook_auth_key
    """
    if asyncio.run(_unset(key)):
        out.print(f"{cut(key, MOST_SHOWN)} is no longer set", markup=False)
        return
    if key not in LiveConfig.model_fields:
        known_key(key)
    out.print(f"{key} was not set", markup=False)


async def _set(key: str, raw: bytes) -> None:
    keys = live_keys()
    reason = await keys.refusal(key, raw)
    if reason is not None:
        raise InvalidRequestError(f"{key}: {reason}")
    await keys.put(key, raw)


async def _unset(key: str) -> bool:
    keys = live_keys()
    was_set = key in await keys.all()
    if was_set:
        await keys.delete(key)
    return was_set


def _read(key: str) -> bytes:
    if sys.stdin.isatty():
        hidden = key in SECRET_KEYS
        return str(typer.prompt(key, hide_input=hidden, err=True)).encode(errors="surrogateescape")
    return sys.stdin.buffer.read(MAX_VALUE_BYTES + 2).rstrip(b"\r\n")
