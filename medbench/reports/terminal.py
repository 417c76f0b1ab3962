"""Scores as a table for the terminal, under the conditions they were reached in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from medbench.analysis.conditions import Conditions
from medbench.common.terminal import printable
from medbench.reports.formats import interval_text, known, metric_text, score_text

if TYPE_CHECKING:
    import pandas as pd

    from medbench.analysis import Run

__all__ = ["run_heading", "scores_table"]


def run_heading(run: Run) -> Text:
    """The model of a run, and the settings that its scores depend on."""
    return Text.assemble((printable(run.model), "bold"), f"  {printable(Conditions.of(run).line())}")


def scores_table(frame: pd.DataFrame, *, main_only: bool = True) -> Table:
    """The scores of runs, groups in bold below their tasks.

    Args:
        frame: ``runs.scores()``.
        main_only: Show each task's main metric only, and the circular one where it was asked for.
    """
    several = frame["model"].nunique() > 1 or frame["run"].nunique() > 1
    table = Table(header_style="bold", show_edge=False, pad_edge=False)
    if several:
        table.add_column("model", overflow="fold")
    table.add_column("task", overflow="fold")
    table.add_column("metric")
    table.add_column("score", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("n", justify="right")
    table.add_column("source")
    asked = frame["main"].fillna(False).astype(bool) | (frame["metric"] == "acc_circular")
    shown = frame[asked] if main_only else frame
    for row in shown.sort_values("kind", ascending=False, kind="stable").itertuples():
        unit: Any = row.unit
        cells = [
            # Text, not markup: names and labels come from files.
            Text(printable(str(row.task))),
            Text(printable(metric_text(str(row.metric), unit))),
            Text(
                score_text(row.value, unit) if known(row.value) else "missing",
                style="" if known(row.value) else "red",
            ),
            Text(interval_text(row.low, row.high, unit)),
            Text(f"{row.n:,}"),
            Text(str(row.data_source or ""), style="yellow" if row.data_source == "samples" else ""),
        ]
        if several:
            cells.insert(0, Text(printable(str(row.model))))
        table.add_row(*cells, style="bold" if row.kind == "group" else None)
    return table
