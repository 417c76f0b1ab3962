"""``medbench compare``: is one checkpoint better than another, task by task?"""

from __future__ import annotations

from typing import Annotated

import typer

from medbench.cli.options import (
    Baseline,
    Format,
    Output,
    RowsAsJson,
    RunPaths,
    SystemBy,
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
    by: SystemBy = "model",
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
        typer.Option("--fail-on-regression", help="Exit with 1 if a task is worse or cannot be compared."),
    ] = False,
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
) -> None:
    """Compare checkpoints on the same documents, with intervals and tests."""
    from medbench.analysis import compare as compare_runs
    from medbench.analysis import systems
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.comparison import comparison_table

    loaded = load(runs)
    frame = compare_runs(
        loaded,
        baseline if baseline is not None else systems(loaded, by=by)[0].name,
        by=by,
        tasks=split_names(*tasks) if tasks is not None else None,
        intersect=intersect,
        ignore=("prompt",) if ignore_prompts else (),
        alpha=alpha,
    )
    if as_json:
        print_json(as_records(frame))
    else:
        show_table(comparison_table(frame), form, output)
    if fail_on_regression and frame["verdict"].isin(["worse", "refused"]).any():
        raise typer.Exit(1)
