"""A group of commands that imports a command's module when it is invoked, and not before.

The service imports a second's worth of libraries; `dispatcher --help` and `dispatcher sent` need none of them.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: the module that holds it, its name in there, and its line in the list of commands."""

    module: str
    attribute: str
    summary: str
    panel: str

    def load(self, name: str) -> Any:
        """The command itself, its module imported."""
        found = getattr(import_module(self.module), self.attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
            alone.command(name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = name
        _unwrap(command)
        return command


def _unwrap(command: Any) -> None:
    """Join the lines of a paragraph, which were broken for readers of the source, not of a terminal."""
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(
        paragraph if "\n " in paragraph else paragraph.replace("\n", " ") for paragraph in paragraphs
    )
    for inner in getattr(command, "commands", {}).values():
        _unwrap(inner)


def lazy_group(entries: dict[str, Entry]) -> type[TyperGroup]:
    """A class of groups with these commands."""

    class LazyGroup(TyperGroup):
        """Lists the commands by their summaries; loads the one that is called."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            for name, entry in entries.items():
                self.commands[name] = TyperCommand(
                    name, help=entry.summary, rich_help_panel=entry.panel, rich_markup_mode="rich"
                )

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """The command that the arguments begin with, and the rest of them."""
            if args and args[0] in entries:
                self.commands[args[0]] = entries[args[0]].load(args[0])
            return super().resolve_command(ctx, args)

    return LazyGroup
