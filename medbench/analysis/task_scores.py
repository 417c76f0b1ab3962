"""Main scores of all systems, task by task, with the best of those that may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from medbench.analysis.conditions import ASKED, Conditions
from medbench.analysis.groups import group_weights, lower_is_better
from medbench.analysis.runs import Runs
from medbench.analysis.systems import System, systems
from medbench.analysis.task_names import leaf_tasks

_TAKEN = ("task", "kind", "metric", "unit", "language", "family", "value", "low", "high", "interval", "n")
_TAKEN_TOO = ("data_source", "num_fewshot", "version", "filter")


def task_scores(runs: Runs, *, by: str = "model", tasks: Sequence[str] | None = None) -> pd.DataFrame:
    """A row per system and task or group, under one set of conditions each.

    Args:
        runs: Runs of the systems.
        by: ``model`` or ``run``, what counts as a system.
        tasks: Only these tasks and groups; a group brings its tasks along.

    Returns:
        Groups first, outer ones before inner ones, then tasks: ``model`` (name of the system), ``task``,
        ``kind``, ``metric``, ``unit``, ``language``, ``family``, ``value``, ``low``, ``high``, ``interval``,
        ``n``, ``data_source``, ``num_fewshot``, ``version``, ``filter``, ``run``, ``conditions`` and
        ``best``: whether no score is better among two or more that were asked the same number of documents
        from the same source under the same conditions.

    Raises:
        AnalysisError: A task is unknown.
    """
    wanted = None if tasks is None else named_tasks(systems(runs, by=by), tasks)
    known = systems(runs, by=by, tasks=wanted)
    rows = [row for system in known for row in _rows(system) if wanted is None or row["task"] in wanted]
    order = {task: place for place, task in enumerate(task_order(known))}
    rows.sort(key=lambda row: order[row["task"]])
    frame = pd.DataFrame(rows)
    frame["best"] = best_of(frame)
    return frame.drop(columns=["asked", "falls"])


def named_tasks(known: Sequence[System], names: Sequence[str]) -> list[str]:
    """The groups among some names, and the tasks that the names stand for.

    Args:
        known: All systems.
        names: Tasks and groups.

    Raises:
        AnalysisError: A name is unknown.
    """
    groups = {name: group for system in reversed(known) for name, group in system.groups.items()}
    leaves = leaf_tasks(names, (task for system in known for task in system.runs), groups)
    return [*(name for name in names if name in groups), *leaves]


def _rows(system: System) -> list[dict[str, Any]]:
    conditions = system.conditions
    found = []
    for row in system.scores.to_dict("records"):
        group = row["kind"] == "group"
        leaves = list(group_weights(system.groups, row["task"])) if group else [str(row["task"])]
        found.append(
            {
                "model": system.name,
                **{name: row[name] for name in _TAKEN[:4]},
                **{name: row.get(name) for name in (*_TAKEN[4:], *_TAKEN_TOO)},
                "run": ", ".join(system.run_ids(leaves)),
                "conditions": conditions.line(),
                "asked": asked_alike(conditions),
                "falls": lower_is_better(row),
            }
        )
    return found


def asked_alike(conditions: Conditions) -> tuple[Any, ...]:
    """What must be equal before scores of one source are rivals."""
    return tuple(getattr(conditions, name) for name in ASKED if name != "sources")


def task_order(known: Sequence[System]) -> list[str]:
    """All names: groups by the number of their tasks, then tasks as they were run."""
    sizes: dict[str, int] = {}
    for system in known:
        for name in system.groups:
            size = len(group_weights(system.groups, name))
            sizes[name] = max(size, sizes.get(name, 0))
    # Rows of groups that do not say what they are made of come last among the groups.
    groups = dict.fromkeys(
        name for system in known for name in system.scores.index if name not in system.runs
    )
    tasks = dict.fromkeys(task for system in known for task in system.runs)
    return [*sorted(groups, key=lambda name: -sizes.get(name, 0)), *tasks]


def best_of(frame: pd.DataFrame, *apart: str) -> pd.Series[bool]:
    """Which scores nothing beats among two or more that may be compared.

    Args:
        frame: Rows with ``task``, ``metric``, ``value``, ``n``, ``data_source``, ``num_fewshot``,
            ``version``, ``asked`` (:func:`asked_alike`) and ``falls`` (lower is better).
        *apart: Further columns in which rivals agree.
    """
    known = frame[frame["value"].notna()]
    alike = ["task", "metric", "asked", "n", "data_source", "num_fewshot", "version", *apart]
    goodness = known["value"].where(~known["falls"], -known["value"])
    beside = goodness.groupby([known[name] for name in alike], dropna=False, sort=False)
    best = (beside.transform("max") == goodness) & (beside.transform("size") > 1)
    return best.reindex(frame.index, fill_value=False)
