"""What finished runs show: ``medbench scores``, ``compare``, ``leaderboard``, ``anchors`` and ``report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from medbench.cli.options import (
    Baseline,
    Format,
    Output,
    RowsAsJson,
    RowsBy,
    RunPaths,
    SystemBy,
    TaskNames,
    split_names,
)
from medbench.cli.output import print_json, say


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (scores, compare, leaderboard, anchors, report):
        app.command(command.__name__)(command)


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


def leaderboard(
    runs: RunPaths = None,
    suite: Annotated[
        str | None, typer.Option("--suite", "-s", help="Group to rank over; the largest by default.")
    ] = None,
    tasks: TaskNames = None,
    by: SystemBy = "model",
    published: Annotated[
        Path | None, typer.Option(help="YAML with published scores and their sources, shown but not ranked.")
    ] = None,
    anchors: Annotated[
        bool,
        typer.Option("--anchors", help="Show published scores that come with medbench, not ranked either."),
    ] = False,
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
) -> None:
    """Rank checkpoints over a suite; each rank has a confidence interval."""
    from medbench.analysis import leaderboard as rank
    from medbench.analysis import read_published
    from medbench.analysis.anchors import as_published, read_anchors
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.score_tables import leaderboard_table, ranking_rows

    entries = read_published(published) if published is not None else ()
    names = split_names(*tasks) if tasks is not None else None
    loaded = load(runs)
    board = rank(loaded, suite, by=by, tasks=names, published=entries)
    if anchors:
        known = as_published([one for one in read_anchors() if one.task in (board.suite, *board.tasks)])
        board = rank(loaded, suite, by=by, tasks=names, published=[*entries, *known])
    if as_json:
        print_json(as_records(ranking_rows(board)))
        return
    show_table(leaderboard_table(board), form, output)


def anchors(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Run directories or folders of runs; without any, all published values."),
    ] = None,
    tasks: TaskNames = None,
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
) -> None:
    """Show published scores with their sources, and how their conditions differ from those of runs."""
    from medbench.analysis.anchors import anchors_beside, anchors_frame, of_tasks, read_anchors
    from medbench.analysis.conditions import Conditions
    from medbench.cli.tables import as_records, load, show_table
    from medbench.errors import AnalysisError
    from medbench.reports.score_tables import anchor_table, register_table

    known = of_tasks(read_anchors(), split_names(*tasks) if tasks is not None else None)
    if runs is None:
        frame = anchors_frame(known)
        table = register_table
    else:
        loaded = load(runs)
        templates = {(run.model, run.run): Conditions.of(run).chat_template for run in loaded}
        frame = anchors_beside(loaded.scores(), known, templates)
        if frame.empty:
            raise AnalysisError(
                "no published scores are known for the tasks of these runs",
                hint="`medbench anchors` shows the tasks with published scores",
            )
        table = anchor_table
    if as_json:
        print_json(as_records(frame))
        return
    show_table(table(frame), form, output)


def report(
    runs: RunPaths = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    baseline: Baseline = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a self-contained HTML report of all runs below RUNS (by default results/)."""
    from medbench.analysis import load_runs
    from medbench.reports import write_report

    loaded = load_runs(runs or ["results"])
    written = write_report(loaded, output, title=title, baseline=baseline)
    if as_json:
        say(
            json.dumps(
                {
                    "report": str(written),
                    "runs": [str(run.path) for run in loaded],
                    "problems": [f"{problem.path}: {problem.what}" for problem in loaded.problems],
                },
                ensure_ascii=False,
                indent=2,
            )
        )
        return
    for problem in loaded.problems:
        say(f"note: {problem.path}: {problem.what}", err=True)
    say(f"{written}  ({len(loaded)} runs)")
