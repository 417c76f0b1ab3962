"""Groups of tasks: what they hold, and with which weights it enters their average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medbench.errors import AnalysisError
from medbench.statistics import Interval, average_interval


@dataclass(frozen=True)
class Group:
    """What a group is made of.

    Attributes:
        members: Tasks and groups directly below it.
        weighted: Whether members count by their documents instead of equally.
    """

    members: tuple[str, ...]
    weighted: bool


def groups_of(scores: pd.DataFrame) -> dict[str, Group]:
    """The groups among main scores, each as its first row says; those that make no sense are left out.

    Args:
        scores: Rows with ``task``, ``kind``, ``aggregation`` and ``members``.
    """
    found: dict[str, Group] = {}
    for row in scores[scores["kind"] == "group"].to_dict("records"):
        members = row.get("members")
        names = tuple(map(str, members)) if members is not None and not isinstance(members, float) else ()
        found.setdefault(str(row["task"]), Group(names, row["aggregation"] == "weighted"))
    return {name: group for name, group in found.items() if _sound(found, name)}


def group_weights(
    groups: Mapping[str, Group], name: str, sizes: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Weights with which tasks enter the average of a group; they add up to 1.

    Args:
        groups: All groups.
        name: One of them, or a task (weight 1).
        sizes: Documents of each task, for groups that weigh by them. A task of unknown size weighs nothing,
            and members count equally where no size is known.

    Raises:
        AnalysisError: The group contains itself, or does not say what it is made of.
    """
    return _weights(groups, name, sizes or {}, ())


def averaged(tasks: pd.DataFrame, weights: Mapping[str, float]) -> Interval:
    """The average of some tasks; unknown if one of them is.

    Args:
        tasks: Main scores, indexed by task.
        weights: The tasks of the average, with their weights.
    """
    mine = tasks.reindex(list(weights))
    rows = mine[["value", "low", "high"]].astype(float)
    members = [
        Interval(value, low, high, str(method), 0 if pd.isna(n) else int(n))
        for (value, low, high), method, n in zip(
            rows.to_numpy().tolist(), mine["interval"], mine["n"], strict=True
        )
    ]
    return average_interval(members, list(weights.values()))


def lower_is_better(score: Any) -> bool:
    """Whether a row of scores says that its metric falls as things improve; silence means it does not."""
    direction = score["higher_is_better"]
    return not pd.isna(direction) and not bool(direction)


def _sound(groups: Mapping[str, Group], name: str) -> bool:
    """Whether a group says what it is made of, and does not contain itself."""
    try:
        return bool(_weights(groups, name, {}, ()))
    except AnalysisError:
        return False


def _weights(
    groups: Mapping[str, Group], name: str, sizes: Mapping[str, float], above: tuple[str, ...]
) -> dict[str, float]:
    if name in above:
        raise AnalysisError(f"the group {name!r} contains itself")
    if name not in groups:
        return {name: 1.0}
    group = groups[name]
    if not group.members:
        raise AnalysisError(f"the group {name!r} does not say what its members are")
    inside = [_weights(groups, member, sizes, (*above, name)) for member in group.members]
    counts = [sum(sizes.get(task, 0.0) for task in tasks) for tasks in inside]
    if not group.weighted or not sum(counts):
        counts = [1.0] * len(inside)
    total: dict[str, float] = {}
    for tasks, count in zip(inside, counts, strict=True):
        for task, weight in tasks.items():
            total[task] = total.get(task, 0.0) + weight * count / sum(counts)
    return total
