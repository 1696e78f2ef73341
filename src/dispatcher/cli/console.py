"""How the command line speaks: one console for answers, one for problems, and text of others made harmless."""

import sys

from rich.console import Console
from rich.table import Table

WIDE = 200
"""Columns of a table where there is no terminal that could say how wide it is."""

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_table(table: Table) -> None:
    """Print it as wide as the terminal; whole, where the output goes into a file or another program."""
    width = None if sys.stdout.isatty() else WIDE
    Console(highlight=False, width=width).print(table)


def cut(text: str, length: int) -> str:
    """One line of at most `length` characters, in which nothing can steer the terminal."""
    line = "".join(c if c.isprintable() else "·" for c in text[: length + 1])
    return line if len(text) <= length else f"{line[: length - 1]}…"
