"""Scores of all tasks, a column per system."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medbench.analysis.units import Unit, shared_unit
from medbench.reports.formats import UNITS_NOTE, interval_text, known, metric_text, score_text
from medbench.reports.samples import samples_note
from medbench.reports.tables import TextTable

__all__ = ["BEST_NOTE", "conditions_of_scores", "score_cell", "score_table"]

#: What bold scores and numbers in brackets mean.
BEST_NOTE = (
    "Bold: the best of two or more that were asked the same number of documents from the "
    "same source under the same conditions. In brackets: documents of a score, where they differ."
)


def score_table(frame: pd.DataFrame, *, intervals: bool = False) -> TextTable:
    """The rows of :func:`medbench.analysis.task_scores`: tasks by systems, the best of a row in bold.

    Args:
        frame: The scores.
        intervals: Give each score with its 95% interval.
    """
    models = list(dict.fromkeys(frame["model"]))
    rows, bold = [], set()
    for number, (task, part) in enumerate(frame.groupby("task", sort=False)):
        by_model = {str(row["model"]): row for row in part.to_dict("records")}
        unit = shared_unit(part["unit"])
        sizes = sorted(set(part["n"].astype(int)))
        cells = [score_cell(by_model.get(model), unit, len(sizes) > 1, intervals) for model in models]
        n = f"{sizes[0]:,}" if len(sizes) == 1 else "differs"
        rows.append([str(task), metric_text(str(part["metric"].iloc[0]), unit), n, *cells])
        bold |= {(number, 3 + i) for i, model in enumerate(models) if by_model.get(model, {}).get("best")}
    notes = [*conditions_of_scores(frame), f"{UNITS_NOTE} {BEST_NOTE}"]
    numeric = [False, False] + [True] * (1 + len(models))
    return TextTable(
        ["task", "metric", "n", *models],
        rows,
        numeric,
        notes,
        "Scores",
        data=frame,
        bold=bold,
        aside=("metric",),
    )


def conditions_of_scores(frame: pd.DataFrame) -> list[str]:
    """Where the scores of a table come from, and under what conditions its systems were asked.

    Args:
        frame: Rows with ``model``, ``task``, ``kind``, ``data_source`` and ``conditions``.
    """
    lines = dict(zip(frame["model"], frame["conditions"], strict=True))
    notes = [note] if (note := samples_note(frame[frame["kind"] == "task"])) else []
    if len(set(lines.values())) == 1:
        return [*notes, f"All under: {next(iter(lines.values()))}."]
    return [*notes, *(f"{name}: {line}." for name, line in lines.items())]


def score_cell(row: Any, unit: Unit, with_n: bool, intervals: bool) -> str:
    """A score of a system, or what stands in its place.

    Args:
        row: Its row; ``None`` if the system was not asked.
        unit: That of the line of the table.
        with_n: Say its documents.
        intervals: Give its interval.
    """
    if row is None:
        return "–"
    if not known(row["value"]):
        return "missing"
    text = score_text(row["value"], unit)
    if intervals:
        text += f" {interval_text(row['low'], row['high'], unit)}"
    return f"{text} ({row['n']:,})" if with_n else text
