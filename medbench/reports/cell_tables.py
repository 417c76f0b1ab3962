"""Scores and comparisons of the cells of tasks: documents that are annotated alike."""

from __future__ import annotations

import pandas as pd

from medbench.analysis.annotations import short_name
from medbench.reports.columns import Column, Row, text, texts
from medbench.reports.formats import UNITS_NOTE
from medbench.reports.score_tables import comparison_columns, score_lines, system_columns
from medbench.reports.sentences import (
    BEST_NOTE,
    TESTS_NOTE,
    conditions_notes,
    conditions_of_scores,
    verdict_summary,
)
from medbench.reports.tables import TextTable, text_table

_WHOLE = "all"
_LABELS = {"task": _WHOLE, "group": _WHOLE, "rest": "not annotated"}
_POOLED = (
    f"“{_WHOLE}”: the score over all documents of a task, which is no mean of its cells. Counts are pooled, "
    "and classes averaged, within a cell; a group weighs the cells of its tasks by their documents."
)
_HOLM = (
    "The verdict of a cell follows p adjusted over all cells of a model, whatever their task; that of a task "
    "p adjusted over the tasks."
)


def cell_score_table(frame: pd.DataFrame, *, intervals: bool = False) -> TextTable:
    """The rows of :func:`medbench.analysis.cell_scores`: cells of tasks by systems, the best in bold.

    Args:
        frame: The scores.
        intervals: Give each score with its 95% interval.
    """
    name = short_name(str(frame["by"].iloc[0]))
    # Tasks without cells would only repeat what stands in the table of tasks.
    parted = frame.groupby("task")["kind"].transform(lambda kinds: (kinds == "cell").any())
    lines = frame[parted].assign(label=[_label(row) for row in frame[parted].to_dict("records")])
    return text_table(
        score_lines(lines, ["task", "kind", "label"]),
        [text("task"), text("label", name), *system_columns(frame, intervals)],
        f"Scores by {name}",
        [*conditions_of_scores(lines), f"{UNITS_NOTE} {BEST_NOTE}", _POOLED, *_reasons(frame)],
        data=frame,
        keys=2,
    )


def cell_comparison_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.compare_cells`."""
    name = short_name(str(frame["by"].iloc[0]))
    baselines = list(dict.fromkeys(frame["baseline"]))
    refused = frame[frame["verdict"] == "refused"]
    left = frame[(frame["verdict"] != "refused") & (frame["reason"] != "")]
    outside = frame[(frame["kind"] == "task") & (frame["unannotated"] > 0)]
    return text_table(
        frame,
        [*texts("model", "task"), Column(name, _label, numeric=False), *comparison_columns(baselines)],
        f"Differences from {', '.join(baselines)} by {name}",
        [
            *conditions_notes(frame),
            f"{UNITS_NOTE} {TESTS_NOTE} {_HOLM}",
            *(f"{_named(row)} refused: {row['reason']}" for row in refused.to_dict("records")),
            *(f"{_named(row)}: left out {row['reason']}" for row in left.to_dict("records")),
            *(
                f"{_named(row)}: {row['unannotated']:,} of {row['n']:,} documents have no {name}: in no cell."
                for row in outside.to_dict("records")
            ),
        ],
        lead=[
            verdict_summary(mine, kind)
            for _, mine in frame.groupby("model", sort=False)
            for kind in ("task", "cell")
        ],
        keys=3,
    )


def _label(row: Row) -> str:
    return str(row["cell"]) if row["kind"] == "cell" else _LABELS[row["kind"]]


def _named(row: Row) -> str:
    part = f", {row['cell']}" if row["kind"] == "cell" else ""
    return f"{row['model']}, {row['task']}{part}"


def _reasons(frame: pd.DataFrame) -> list[str]:
    """Why tasks have no cells, or cells no score: each reason once, with where it holds."""
    found: dict[str, list[str]] = {}
    for row in frame[frame["reason"] != ""].to_dict("records"):
        part = f" ({row['cell']})" if row["kind"] == "cell" else ""
        found.setdefault(str(row["reason"]), []).append(f"{row['task']}{part}")
    return [f"{', '.join(dict.fromkeys(names))}: {reason}." for reason, names in found.items()]
