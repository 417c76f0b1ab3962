"""What a score is counted in: decided once for a metric, and the same for all of its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

Unit = Literal["share", "number"]
"""``share``: a part of one, which readers see in percent. ``number``: anything else, seen as it is."""

# A metric of this name is a share of what it counts as long as documents enter it by their mean.
_SHARES_OF_DOCUMENTS = frozenset(
    {
        "acc",
        "acc_all",
        "acc_bytes",
        "acc_circular",
        "acc_medcare",
        "acc_ming",
        "acc_ming_april",
        "acc_mutual_info",
        "acc_norm",
        "bleu_1",
        "exact_match",
        "extracted",
        "rouge_1",
        "rouge_2",
        "rouge_l",
        "truncated",
    }
)
_MEANS = frozenset({"mean", "nanmean"})

# These make a share of whatever labels or counts they are given.
_SHARES = frozenset(
    {
        "f1",
        "macro_f1",
        "macro_precision",
        "macro_recall",
        "micro_f1",
        "micro_precision",
        "micro_recall",
        "weighted_f1",
        "weighted_precision",
        "weighted_recall",
    }
)

# An average of ones may come out as one and a rounding error.
_SLACK = 1e-9


def unit_of(metric: str, aggregation: str) -> Unit:
    """The unit of a metric, by its name and by how documents make the score.

    Only what is known to lie between 0 and 1 is a share: perplexities, BLEU out of 100, Matthews' correlation
    and metrics of the tasks' own are numbers.

    Args:
        metric: Name of the metric.
        aggregation: Name of its aggregation.
    """
    averaged = metric in _SHARES_OF_DOCUMENTS and aggregation in _MEANS
    return "share" if averaged or aggregation in _SHARES else "number"


def shared_unit(units: Iterable[Any]) -> Unit:
    """The unit of an average or a column: a share if all parts are shares."""
    found = set(units)
    return "share" if found == {"share"} else "number"


def with_units(scores: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``unit``, the same for all rows of a task and metric.

    A metric whose name promises a share, but that has a value outside [0, 1] in any row of the task, is a
    number in all of them. The average of a group has the unit that all of its tasks share.

    Args:
        scores: Rows of ``scores.parquet``, of one run or several.
    """
    if "metric" not in scores:  # a frame without runs has no columns
        return scores.assign(unit=pd.Series(dtype=object))
    tasks = scores["task"].astype(str)
    metrics = scores["metric"].astype(str)
    named = [unit_of(m, a) for m, a in zip(metrics, scores["aggregation"].astype(str), strict=True)]
    value = scores["value"].astype(float)
    outside = (value < -_SLACK) | (value > 1 + _SLACK)
    units: pd.Series[Any] = pd.Series(named, index=scores.index, dtype=object)
    units = units.mask(outside, "number")
    # "number" comes before "share", so that one row is enough.
    units = units.groupby([tasks.to_numpy(), metrics.to_numpy()]).transform("min")
    averages = scores["kind"].astype(str) == "group"
    main = scores["main"].fillna(False).astype(bool) & ~averages
    by_task: dict[str, Unit] = dict(zip(tasks[main], units[main], strict=True))
    members = _members(scores[averages])
    units[averages] = [_group_unit(task, members, by_task, ()) for task in tasks[averages]]
    return scores.assign(unit=units)


def _members(groups: pd.DataFrame) -> dict[str, list[str]]:
    """All members that any run gives a group."""
    found: dict[str, list[str]] = {}
    for name, members in zip(groups["task"].astype(str), groups["members"], strict=True):
        if isinstance(members, Iterable):
            found.setdefault(name, []).extend(map(str, members))
    return found


def _group_unit(
    name: str, members: Mapping[str, Sequence[str]], by_task: Mapping[str, Unit], above: tuple[str, ...]
) -> Unit:
    if name not in members:
        return by_task.get(name, "number")
    # A group that contains itself adds nothing to its own unit.
    return shared_unit(
        _group_unit(member, members, by_task, (*above, name))
        for member in members[name]
        if member not in above and (member in members or member in by_task)
    )
