"""How the command line speaks: one console for answers, one for problems, one way to end with an error."""

from typing import NoReturn

import typer
from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(text: str) -> NoReturn:
    """End the command with exit code 1 and one line that says what is wrong and what to do."""
    err.print(f"[bold red]dispatcher:[/] {text}", markup=True)
    raise typer.Exit(1)
