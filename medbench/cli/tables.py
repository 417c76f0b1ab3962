"""Showing a table in the terminal, or in the format a script or a paper wants."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.cli.output import say
from medbench.common.files import reason, write_text
from medbench.common.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

    from medbench.analysis import Runs
    from medbench.reports.tables import TextTable

__all__ = ["as_records", "load", "show_table"]


def load(paths: list[str] | None) -> Runs:
    """Load runs and say on standard error what was wrong with any."""
    from medbench.analysis import load_runs

    runs = load_runs(paths or ["results"])
    for problem in runs.problems:
        say(f"note: {problem.path}: {problem.what}", err=True)
    return runs


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as JSON values, with null for what is missing."""
    from medbench.reports import tables

    return tables.as_records(frame)


def show_table(table: TextTable, form: str, output: Path | None) -> None:
    """Print a table, or write it to a file.

    Args:
        table: The table.
        form: ``text`` for the terminal, else a format of :func:`medbench.reports.tables.render_table`.
        output: File to write; standard output by default.
    """
    from medbench.errors import ReportError
    from medbench.reports.tables import render_table

    if form == "text" and output is None:
        _print_text(table)
        return
    text = render_table(table, "markdown" if form == "text" else form)
    if output is None:
        sys.stdout.write(printable(text))
        return
    try:
        write_text(output, text)
    except OSError as error:
        raise ReportError(f"the table cannot be written: {reason(error)}", where=str(output)) from error
    say(str(output))


def _print_text(table: TextTable) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from medbench.reports.tables import said_once

    table = said_once(table)
    # A pipe has no width of its own; folding cells there would only hurt.
    console = Console(width=None if sys.stdout.isatty() else 200)
    shown = Table(
        title=Text(printable(table.title), style="bold"), header_style="bold", show_edge=False, pad_edge=False
    )
    for header, right, width in zip(
        table.headers, table.numeric, _fixed_widths(table, console.width), strict=True
    ):
        shown.add_column(
            Text(printable(header)),
            justify="right" if right else "left",
            overflow="fold",
            width=width,
        )
    for number, row in enumerate(table.rows):
        # Text, not markup: names come from files.
        styles = ["bold" if (number, i) in table.bold else "" for i in range(len(row))]
        shown.add_row(*(Text(printable(cell), style=style) for cell, style in zip(row, styles, strict=True)))
    for text in table.lead:
        console.print(Text(printable(text)))
    console.print(shown)
    for note in table.notes:
        console.print(Text(printable(note)), style="dim")


def _fixed_widths(table: TextTable, room: int) -> list[int | None]:
    """Widths of the columns of numbers where a table must be folded: names and headings give way to them.

    All ``None`` (let every column give way) if there is room for all, or too little for that.
    """
    from rich.cells import cell_len

    room -= 3 * (len(table.headers) - 1)
    full, whole = [], []
    for header, *cells in zip(table.headers, *table.rows, strict=True):
        widest = max(map(cell_len, map(printable, cells)), default=0)
        full.append(max(widest, cell_len(printable(header))))
        whole.append(max(widest, *map(cell_len, printable(header).split())))
    # A name can still be read in pieces of ten characters.
    least = [
        number if right else min(name, 10)
        for number, name, right in zip(whole, full, table.numeric, strict=True)
    ]
    folded = sum(least) <= room < sum(full)
    return [width if folded and right else None for width, right in zip(whole, table.numeric, strict=True)]
