"""``medbench scores``: every task of every checkpoint, as a table for a paper or a script."""

from __future__ import annotations

from typing import Annotated

import typer

from medbench.cli.options import Format, Output, RowsAsJson, RowsBy, RunPaths, TaskNames, split_names
from medbench.cli.output import print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("scores")(scores)


def scores(
    runs: RunPaths = None,
    tasks: TaskNames = None,
    by: RowsBy = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Give each score with its 95% interval.")
    ] = False,
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
) -> None:
    """Show main scores, a row per task and a column per checkpoint, the best in bold.

    With `--by question_type` or another annotation a row per task and cell: the documents that share it.
    """
    from medbench.analysis.annotations import split_by
    from medbench.analysis.cell_scores import cell_scores
    from medbench.analysis.task_scores import task_scores
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.cell_tables import cell_score_table
    from medbench.reports.score_tables import score_table

    names = split_names(*tasks) if tasks is not None else None
    systems, annotation = split_by(split_names(*by) if by is not None else [])
    loaded = load(runs)
    if annotation is None:
        frame, table = task_scores(loaded, by=systems, tasks=names), score_table
    else:
        frame, table = cell_scores(loaded, annotation, by=systems, tasks=names), cell_score_table
    if as_json:
        print_json(as_records(frame))
        return
    show_table(table(frame, intervals=intervals), form, output)
