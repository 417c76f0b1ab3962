"""What commands print: lines and tables for people, JSON for scripts; none can play tricks on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from medbench.common.terminal import escaped, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_json", "print_table", "say", "wide_console"]

_PIPE_WIDTH = 240


def say(text: str, *, err: bool = False) -> None:
    """Print a line; control characters in it are made visible instead of obeyed."""
    typer.echo(printable(text), err=err)


def print_json(value: Any) -> None:
    """Print a value as JSON; paths and the like become text, control characters are escaped."""
    typer.echo(escaped(json.dumps(value, ensure_ascii=False, indent=2, default=str)))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print rows as a table; text from definitions and data is shown as it is, never as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=None if title is None else Text(printable(title)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    for number, column in enumerate(columns):
        # Names must stay in one piece to be copied; the other columns give way.
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    wide_console(_PIPE_WIDTH).print(table)


def wide_console(width: int) -> Console:
    """A console of the terminal's width; of another where there is no terminal: lines in a pipe are for grep.

    Args:
        width: Columns in a pipe.
    """
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=width)
