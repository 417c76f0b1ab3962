"""What commands print: lines for people, JSON for scripts; control characters are made visible or escaped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from medbench.common.terminal import escaped, printable

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str, *, err: bool = False) -> None:
    """Print a line; control characters are replaced."""
    typer.echo(printable(text), err=err)


def print_json(value: Any) -> None:
    """Print a value as JSON; other types become text, control characters are escaped."""
    typer.echo(escaped(json.dumps(value, ensure_ascii=False, indent=2, default=str)))


def wide_console(width: int) -> Console:
    """A console with the terminal's width, or without a terminal a given one that keeps lines whole for grep.

    Args:
        width: Columns in a pipe.
    """
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=width)
