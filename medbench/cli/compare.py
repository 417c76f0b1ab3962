"""``medbench compare``: is one checkpoint better than another, task by task?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from medbench.cli.options import (
    Baseline,
    Format,
    Output,
    RowsAsJson,
    RowsBy,
    RunPaths,
    TaskNames,
    split_names,
)
from medbench.cli.output import print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("compare")(compare)


def compare(
    runs: RunPaths = None,
    baseline: Baseline = None,
    by: RowsBy = None,
    tasks: TaskNames = None,
    intersect: Annotated[
        bool, typer.Option("--intersect", help="Compare the documents that agree instead of refusing.")
    ] = False,
    ignore_prompts: Annotated[
        bool, typer.Option("--ignore-prompts", help="Let prompts differ, as under different chat templates.")
    ] = False,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Level of the verdicts.")] = 0.05,
    fail_on_regression: Annotated[
        bool,
        typer.Option(
            "--fail-on-regression", help="Exit with 1 if a task or cell is worse or cannot be compared."
        ),
    ] = False,
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
) -> None:
    """Compare checkpoints on the same documents, with intervals and tests.

    With `--by question_type` or another annotation also every cell: the documents that share it.
    """
    from medbench.analysis import compare as compare_runs
    from medbench.analysis import systems
    from medbench.analysis.annotations import split_by
    from medbench.analysis.compare_cells import compare_cells
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.cell_tables import cell_comparison_table
    from medbench.reports.score_tables import comparison_table

    kind, annotation = split_by(split_names(*by) if by is not None else [])
    loaded = load(runs)
    base = baseline if baseline is not None else systems(loaded, by=kind)[0].name
    asked: dict[str, Any] = {
        "by": kind,
        "tasks": split_names(*tasks) if tasks is not None else None,
        "intersect": intersect,
        "ignore": ("prompt",) if ignore_prompts else (),
        "alpha": alpha,
    }
    if annotation is None:
        frame, table = compare_runs(loaded, base, **asked), comparison_table
    else:
        frame, table = compare_cells(loaded, base, annotation, **asked), cell_comparison_table
    if as_json:
        print_json(as_records(frame))
    else:
        show_table(table(frame), form, output)
    if fail_on_regression and frame["verdict"].isin(["worse", "refused"]).any():
        raise typer.Exit(1)
