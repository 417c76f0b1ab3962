"""Showing a table in the terminal, or in the format a script or a paper wants."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.cli.output import say

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


def as_records(frame: pd.DataFrame) -> list[Any]:
    """Rows of a frame as JSON values, with null for what is missing."""
    records: list[Any] = json.loads(frame.to_json(orient="records", force_ascii=False, date_format="iso"))
    return records


def show_table(table: TextTable, form: str, output: Path | None) -> None:
    """Print a table, or write it to a file.

    Args:
        table: The table.
        form: ``text`` for the terminal, else a format of :func:`medbench.reports.tables.render_table`.
        output: File to write; standard output by default.
    """
    from medbench.errors import ReportError, printable
    from medbench.reports.tables import render_table

    if form == "text" and output is None:
        _print_text(table)
        return
    text = render_table(table, "markdown" if form == "text" else form)
    if output is None:
        sys.stdout.write(printable(text))
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"the table cannot be written: {error.strerror}", where=str(output)) from error
    say(str(output))


def _print_text(table: TextTable) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from medbench.errors import printable

    shown = Table(
        title=Text(printable(table.title), style="bold"), header_style="bold", show_edge=False, pad_edge=False
    )
    for header, right in zip(table.headers, table.numeric, strict=True):
        shown.add_column(Text(printable(header)), justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        # Text, not markup: names come from files.
        shown.add_row(*(Text(printable(cell)) for cell in row))
    # A pipe has no width of its own; folding cells there would only hurt.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(shown)
    for note in table.notes:
        console.print(Text(printable(note)), style="dim")
