"""Scores and comparisons of the cells of tasks: documents that are annotated alike."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medbench.analysis.annotations import short_name
from medbench.analysis.units import shared_unit
from medbench.reports.comparison import TESTS_NOTE, comparison_row, conditions_notes
from medbench.reports.formats import UNITS_NOTE, metric_text
from medbench.reports.score_table import BEST_NOTE, conditions_of_scores, score_cell
from medbench.reports.tables import TextTable
from medbench.reports.verdicts import verdict_summary

__all__ = ["cell_comparison_table", "cell_score_table"]

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
    models = list(dict.fromkeys(frame["model"]))
    rows, bold = [], set()
    # Tasks without cells would only repeat what stands in the table of tasks.
    parted = frame.groupby("task")["kind"].transform(lambda kinds: (kinds == "cell").any())
    lines = frame[parted].assign(label=[_label(row) for row in frame[parted].to_dict("records")])
    for number, ((task, _, label), part) in enumerate(lines.groupby(["task", "kind", "label"], sort=False)):
        by_model = {str(row["model"]): row for row in part.to_dict("records")}
        unit = shared_unit(part["unit"])
        sizes = sorted(set(part["n"].astype(int)))
        cells = [score_cell(by_model.get(model), unit, len(sizes) > 1, intervals) for model in models]
        n = f"{sizes[0]:,}" if len(sizes) == 1 else "differs"
        rows.append([str(task), str(label), metric_text(str(part["metric"].iloc[0]), unit), n, *cells])
        bold |= {(number, 4 + i) for i, model in enumerate(models) if by_model.get(model, {}).get("best")}
    return TextTable(
        ["task", name, "metric", "n", *models],
        rows,
        [False, False, False] + [True] * (1 + len(models)),
        [
            *conditions_of_scores(lines),
            f"{UNITS_NOTE} {BEST_NOTE}",
            _POOLED,
            *_reasons(frame),
        ],
        f"Scores by {name}",
        data=frame,
        bold=bold,
        aside=("metric",),
        keys=2,
    )


def cell_comparison_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.compare_cells`."""
    name = short_name(str(frame["by"].iloc[0]))
    baselines = list(dict.fromkeys(frame["baseline"]))
    headers = ["model", "task", name, "metric", "n", baselines[0] if len(baselines) == 1 else "baseline"]
    headers += ["score", "difference", "95% interval", "p", "p adjusted", "flips", "detectable", "verdict"]
    rows = []
    for row in frame.to_dict("records"):
        texts = comparison_row(row)
        rows.append([*texts[:2], _label(row), *texts[2:]])
    refused = frame[frame["verdict"] == "refused"]
    left = frame[(frame["verdict"] != "refused") & (frame["reason"] != "")]
    outside = frame[(frame["kind"] == "task") & (frame["unannotated"] > 0)]
    return TextTable(
        headers,
        rows,
        [False] * 4 + [True] * 9 + [False],
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
        f"Differences from {', '.join(baselines)} by {name}",
        data=frame,
        lead=[
            verdict_summary(mine, kind)
            for _, mine in frame.groupby("model", sort=False)
            for kind in ("task", "cell")
        ],
        aside=("metric", "flips", "detectable"),
        keys=3,
    )


def _label(row: dict[Any, Any]) -> str:
    return str(row["cell"]) if row["kind"] == "cell" else _LABELS[row["kind"]]


def _named(row: dict[Any, Any]) -> str:
    part = f", {row['cell']}" if row["kind"] == "cell" else ""
    return f"{row['model']}, {row['task']}{part}"


def _reasons(frame: pd.DataFrame) -> list[str]:
    """Why tasks have no cells, or cells no score: each reason once, with where it holds."""
    found: dict[str, list[str]] = {}
    for row in frame[frame["reason"] != ""].to_dict("records"):
        part = f" ({row['cell']})" if row["kind"] == "cell" else ""
        found.setdefault(str(row["reason"]), []).append(f"{row['task']}{part}")
    return [f"{', '.join(dict.fromkeys(names))}: {reason}." for reason, names in found.items()]
