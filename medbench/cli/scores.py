"""``medbench scores``: every task of every checkpoint, as a table for a paper or a script."""

from __future__ import annotations

from typing import Annotated

import typer

from medbench.cli.options import Format, Output, RowsAsJson, RunPaths, SystemBy, TaskNames, split_names
from medbench.cli.output import print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("scores")(scores)


def scores(
    runs: RunPaths = None,
    tasks: TaskNames = None,
    by: SystemBy = "model",
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Give each score with its 95% interval.")
    ] = False,
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
) -> None:
    """Show main scores, a row per task and a column per checkpoint, the best in bold."""
    from medbench.analysis.task_scores import task_scores
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.score_table import score_table

    names = split_names(*tasks) if tasks is not None else None
    frame = task_scores(load(runs), by=by, tasks=names)
    if as_json:
        print_json(as_records(frame))
        return
    show_table(score_table(frame, intervals=intervals), form, output)
