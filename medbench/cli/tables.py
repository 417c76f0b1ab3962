"""Output of tables: in the terminal, or in a format for scripts and papers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.cli.output import say, wide_console
from medbench.common.files import reason, write_text
from medbench.common.terminal import printable
from medbench.errors import ReportError
from medbench.reports.renderers import render_table, terminal
from medbench.reports.tables import TextTable, as_records, listing

if TYPE_CHECKING:
    from medbench.analysis import Runs

__all__ = ["as_records", "load", "show_facts", "show_table"]

# Columns of a table in a pipe, which has no width of its own; folding cells there would only hurt.
_PIPE_WIDTH = 240


def load(paths: list[str] | None) -> Runs:
    """Load runs, and print problems on standard error."""
    from medbench.analysis import load_runs

    runs = load_runs(paths or ["results"])
    for problem in runs.problems:
        say(f"note: {problem.path}: {problem.what}", err=True)
    return runs


def show_table(table: TextTable, form: str = "text", output: Path | None = None) -> None:
    """Print a table, or write it to a file.

    Args:
        table: The table.
        form: ``text`` for the terminal, else a format of :func:`medbench.reports.renderers.render_table`.
        output: File to write; standard output by default.

    Raises:
        ReportError: The format is unknown, or the file cannot be written.
    """
    if form == "text" and output is None:
        console = wide_console(_PIPE_WIDTH)
        console.print(terminal(table, console.width))
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


def show_facts(values: Mapping[str, Any], names: str = "key", form: str = "text") -> None:
    """Print names and values as a table of two columns.

    Args:
        values: The values by name.
        names: Heading of the names.
        form: As of :func:`show_table`.
    """
    show_table(
        listing((names, "value"), [{names: key, "value": value} for key, value in values.items()]), form
    )
