"""Main scores of all systems by an annotation of the documents: a row per task and cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medbench.analysis.annotations import annotation_column, cell_order
from medbench.analysis.cells import UNANNOTATED
from medbench.analysis.groups import group_weights, lower_is_better
from medbench.analysis.runs import Run, Runs
from medbench.analysis.systems import System, systems
from medbench.analysis.task_scores import asked_alike, best_of, named_tasks, task_order
from medbench.analysis.units import shared_unit, with_units
from medbench.errors import AnalysisError
from medbench.statistics import Interval, average_interval

_COLUMNS = (
    *("model", "task", "kind", "by", "cell", "metric", "unit", "language", "family"),
    *("value", "low", "high", "interval", "n", "reason"),
    *("data_source", "num_fewshot", "version", "filter", "run", "conditions", "best"),
)
# As an exam lists its parts: then what lies in none of them, then all together.
_LATER = {"rest": 1, "task": 2, "group": 2}


def cell_scores(
    runs: Runs, annotation: str, *, by: str = "model", tasks: Sequence[str] | None = None
) -> pd.DataFrame:
    """A row per system, task and cell: the documents of the task that are annotated alike.

    A group that weighs its tasks by their documents has cells as well, each the average of its tasks' over
    their documents; other groups have none, since not all of their tasks have the same cells.

    Args:
        runs: Runs of the systems.
        annotation: ``subject`` or the name of an annotation, such as ``question_type``.
        by: ``model`` or ``run``, what counts as a system.
        tasks: Only these tasks and groups; a group brings its tasks along.

    Returns:
        Of each task its cells (``kind`` ``cell``), the documents in none (``rest``) and the task itself
        (``task`` or ``group``): ``model``, ``task``, ``kind``, ``by`` (the column), ``cell``, ``metric``,
        ``unit``, ``language``, ``family``, ``value``, ``low``, ``high``, ``interval``, ``n``, ``reason`` (why
        a task has no cells, or a cell no score), ``data_source``, ``num_fewshot``, ``version``, ``filter``,
        ``run``, ``conditions`` and ``best``, as :func:`medbench.analysis.task_scores.task_scores` has them.

    Raises:
        AnalysisError: A task or the annotation is unknown, or no task has a cell.
    """
    column = annotation_column(annotation, runs.sample_columns())
    known = systems(runs, by=by)
    wanted = None if tasks is None else named_tasks(known, tasks)
    known = systems(runs, by=by, tasks=wanted)
    rows = [row for system in known for row in _of_system(system, column, wanted)]
    if not any(row["kind"] == "cell" for row in rows):
        found = dict.fromkeys(f"{row['task']}: {row['reason']}" for row in rows if row["reason"])
        raise AnalysisError(
            f"no task has scores by {annotation!r}",
            where="; ".join(list(found)[:3]) + ("; …" if len(found) > 3 else ""),
            hint="choose tasks whose files say that of their questions",
        )
    places = {task: place for place, task in enumerate(task_order(known))}
    cells = {cell: place for place, cell in enumerate(cell_order(row["cell"] for row in rows))}
    rows.sort(key=lambda row: (places[row["task"]], _LATER.get(row["kind"], 0), cells.get(row["cell"], 0)))
    frame = pd.DataFrame(rows)
    frame["best"] = best_of(frame, "kind", "cell")
    return frame[list(_COLUMNS)]


def _of_system(system: System, column: str, wanted: Sequence[str] | None) -> list[dict[str, Any]]:
    """The cells of the main score of each task, of the run that answers for it, and of groups."""
    by_run: dict[str, tuple[Run, list[str]]] = {}
    for task, run in system.runs.items():
        if wanted is None or task in wanted:
            by_run.setdefault(run.run, (run, []))[1].append(task)
    found = [run.cells(column, tasks=tasks) for run, tasks in by_run.values()]
    if not found:
        return []
    frame = pd.concat(found, ignore_index=True)
    frame = with_units(frame[frame["main"].fillna(False).astype(bool)].reset_index(drop=True))
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row in frame.to_dict("records"):
        by_task.setdefault(str(row["task"]), []).append({str(name): value for name, value in row.items()})
    rows = [row for task in by_task.values() for row in task]
    for name, group in system.groups.items():
        if group.weighted and (wanted is None or name in wanted):
            rows += _of_group(system, name, by_task, column)
    conditions = system.conditions
    shared = {"model": system.name, "conditions": conditions.line(), "asked": asked_alike(conditions)}
    every = dict.fromkeys(("language", "family", "data_source", "num_fewshot", "version", "filter"))
    return [
        {
            **every,
            **row,
            **shared,
            "cell": None if pd.isna(row["cell"]) else row["cell"],
            "falls": lower_is_better(row),
        }
        for row in rows
    ]


def _of_group(
    system: System, name: str, by_task: Mapping[str, Sequence[dict[str, Any]]], column: str
) -> list[dict[str, Any]]:
    """The cells of a group, averaged over those of its tasks as the group itself is."""
    leaves = list(group_weights(system.groups, name))
    whole = {str(key): value for key, value in system.scores.loc[name].to_dict().items()}
    whole |= {"by": column, "cell": None, "reason": ""}
    whole["run"] = ", ".join(system.run_ids(leaves))
    parts: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    for task in leaves:
        rows = by_task.get(task, ())
        reasons = [row["reason"] for row in rows if row["reason"] not in ("", UNANNOTATED)]
        if reasons or not rows:
            return [whole | {"reason": f"no cells of {task}: {reasons[0] if reasons else 'it is missing'}"}]
        cells = [row for row in rows if row["kind"] != "task"] or [{**rows[0], "kind": "rest"}]
        for row in cells:
            parts.setdefault((row["kind"], row["cell"]), []).append(row)
    if not any(kind == "cell" for kind, _ in parts):
        return []
    return [*(whole | {"kind": k, "cell": c} | _averaged(rows) for (k, c), rows in parts.items()), whole]


def _averaged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The average of cells over their documents."""
    intervals = [Interval(row["value"], row["low"], row["high"], row["interval"], row["n"]) for row in rows]
    found = average_interval(intervals, [row["n"] for row in rows])
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "interval": found.method,
        "n": found.n,
        "unit": shared_unit(row["unit"] for row in rows),
    }
