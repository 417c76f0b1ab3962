"""Scores of the cells of tasks: the documents of a task that share an annotation."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from medbench.analysis.annotations import cell_order, cells_in
from medbench.errors import StatisticsError
from medbench.runs.estimates import interval_by_sums
from medbench.runs.schema import VALUE_KINDS, value_column
from medbench.statistics import AGGREGATIONS, sufficient

#: What the names of columns begin with that hold a metric's values.
VALUE_COLUMNS = tuple(value_column(kind, "") for kind in VALUE_KINDS)
#: Why a task has no cells where its file does not say that of its questions.
UNANNOTATED = "none of its documents is annotated so"
# How far a score made of its documents may be from the one stated, relative to its size.
_AGREEMENT = 1e-6


def cell_rows(scores: pd.DataFrame, samples: pd.DataFrame, column: str, *, seed: int) -> list[dict[str, Any]]:
    """Score every cell of every task of a run, each as the task itself was scored.

    The score of a cell is made of its documents alone: counts are pooled over them, and classes are those
    that occur among them. So the scores of cells need not average to that of the task.

    Args:
        scores: Rows of ``scores.parquet``; groups are passed over.
        samples: Rows of ``samples.parquet``, with the column and those of all metrics.
        column: What tells documents apart.
        seed: Seeds the bootstrap; that of the run makes the intervals those of the run.

    Returns:
        For each score a row per cell (``kind`` ``cell``), one of the documents that lack the annotation
        (``rest``), if there are any, and the task as a whole (``task``): the row of scores with ``by``,
        ``cell`` and ``reason``. The reason says why there are no cells, or no score of one.
    """
    documents = {str(task): part for task, part in samples.groupby("task", sort=False, observed=True)}
    nothing = samples.iloc[:0]
    rows = []
    for score in scores[scores["kind"] == "task"].to_dict("records"):
        mine = documents.get(str(score["task"]), nothing)
        rows += _of_score(score, mine, column, seed)
    return rows


def _of_score(score: dict[Any, Any], samples: pd.DataFrame, column: str, seed: int) -> list[dict[str, Any]]:
    whole = {**score, "by": column, "cell": None, "reason": ""}
    values = _values(score, samples)
    if isinstance(values, str):
        return [whole | {"reason": values}]
    given = values.notna().to_numpy()
    values, samples = values[given], samples[given]
    cells = cells_in(samples[column]) if column in samples else pd.Series(None, samples.index, dtype=object)
    if cells.isna().all():
        return [whole | {"reason": UNANNOTATED}]
    if reason := _unlike(score, values):
        return [whole | {"reason": reason}]
    clusters = samples["cluster"]
    parts: list[tuple[str, str | None, Any]] = [
        ("cell", cell, (cells == cell).to_numpy()) for cell in cell_order(cells)
    ]
    if cells.isna().any():
        parts.append(("rest", None, cells.isna().to_numpy()))
    return [
        *(
            whole | {"kind": kind, "cell": cell} | _scored(score, values[part], clusters[part], seed)
            for kind, cell, part in parts
        ),
        whole,
    ]


def _values(score: dict[Any, Any], samples: pd.DataFrame) -> pd.Series[Any] | str:
    """The values that documents have by a metric, or why they are not known."""
    metric, pipeline = str(score["metric"]), str(score["filter"])
    if score["aggregation"] not in AGGREGATIONS:
        return f"no score of a cell is known for {score['aggregation']}"
    first = set(samples["filter"].dropna().astype(str)) if "filter" in samples else set()
    further = pipeline if first and pipeline not in first else ""
    for kind in VALUE_KINDS:
        name = value_column(kind, metric, further)
        if name in samples and samples[name].notna().any():
            column = samples[name].astype(object)
            return column.map(json.loads, na_action="ignore") if kind == "items" else column
    return f"the samples hold no results of {metric!r}" + (f" (filter {pipeline})" if further else "")


def _unlike(score: dict[Any, Any], values: pd.Series[Any]) -> str:
    """Why documents may not stand for a score: they make another; empty if they make this one."""
    stated = score["value"]
    if stated is None or pd.isna(stated):
        return "the score of the task is not known"
    try:
        made = sufficient(values.tolist(), str(score["aggregation"])).value
    except StatisticsError as error:
        return f"the results of {score['metric']!r} cannot be read: {error.what}"
    if not math.isclose(made, float(stated), rel_tol=_AGREEMENT, abs_tol=_AGREEMENT):
        return f"the documents make a {score['metric']} of {made:.6g}, the score is {float(stated):.6g}"
    return ""


def _scored(
    score: dict[Any, Any], values: pd.Series[Any], clusters: pd.Series[Any], seed: int
) -> dict[str, Any]:
    """Score, interval and size of some documents."""
    found = interval_by_sums(
        str(score["metric"]), values.tolist(), str(score["aggregation"]), clusters.tolist(), seed
    )
    if found is None or not math.isfinite(found.value):
        nothing = {"value": math.nan, "low": math.nan, "high": math.nan, "interval": "none"}
        return {**nothing, "n": len(values), "reason": f"these documents have no {score['metric']} together"}
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "interval": found.method,
        "n": found.n,
    }
