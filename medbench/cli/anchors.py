"""``medbench anchors``: published scores, alone or beside those of runs."""

from __future__ import annotations

from typing import Annotated

import typer

from medbench.cli.options import Format, Output, RowsAsJson, TaskNames, split_names
from medbench.cli.output import print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("anchors")(anchors)


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
