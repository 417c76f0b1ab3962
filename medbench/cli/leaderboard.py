"""``medbench leaderboard``: rank checkpoints over a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medbench.cli.options import Format, Output, RowsAsJson, RunPaths, SystemBy, TaskNames, split_names
from medbench.cli.output import print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("leaderboard")(leaderboard)


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
