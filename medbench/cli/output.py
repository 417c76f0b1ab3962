"""What several commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer

__all__ = ["print_json", "print_table", "printable"]

_PIPE_WIDTH = 240


def print_json(value: Any) -> None:
    """Print a value as JSON; paths and the like become text."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print rows as a table; text from definitions and data is shown as it is, never as markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        # Names must stay in one piece to be copied; the other columns give way.
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console = Console()
    # In a pipe there is no width to keep to, and lines are for grep.
    (console if console.is_terminal else Console(width=_PIPE_WIDTH)).print(table)


def printable(text: str) -> str:
    """Text without control characters, which could move the cursor or recolour a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
