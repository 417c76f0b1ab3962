"""``medbench compare``: is one checkpoint better than another, task by task?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medbench.cli.output import print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("compare")(compare)


def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Folders, run directories, lm-eval results or globs.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", "-b", help="Model to compare with; the first by default.")
    ] = None,
    by: Annotated[str, typer.Option(help="What counts as a system: model or run.")] = "model",
    tasks: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="Only this task or group; may be repeated.")
    ] = None,
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
    form: Annotated[str, typer.Option("--format", "-f", help="text, markdown, csv, latex or html.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Compare checkpoints on the same documents, with intervals and tests."""
    from medbench.analysis import compare as compare_runs
    from medbench.analysis import systems
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.results import comparison_table

    loaded = load(runs)
    frame = compare_runs(
        loaded,
        baseline if baseline is not None else systems(loaded, by=by)[0].name,
        by=by,
        tasks=tasks,
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
