"""Per-document results of a task, and whether two systems were asked the same."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis.runs import Run
from medbench.errors import AnalysisError

__all__ = ["HASHES", "TaskDocuments", "differences", "read_documents"]

#: What must agree for two results to be of the same question.
HASHES = {"document": "doc_hash", "prompt": "prompt_hash", "target": "target_hash"}


@dataclass(frozen=True)
class TaskDocuments:
    """Results of one task, a row per document, indexed by document.

    Attributes:
        frame: Columns ``cluster``, the hashes and ``value``.
        metric: The main metric.
        aggregation: How the values make a score.
    """

    frame: pd.DataFrame
    metric: str
    aggregation: str

    def values(self, documents: Any = None) -> Any:
        """Results as :func:`medbench.statistics.interval` takes them.

        Args:
            documents: Only these, in this order.
        """
        column = self.frame["value"] if documents is None else self.frame["value"].loc[documents]
        if self.aggregation == "mean":
            return column.to_numpy(dtype=np.float64)
        return np.stack([np.asarray(value, dtype=object) for value in column])


def read_documents(run: Run, task: str, metric: str, aggregation: str) -> TaskDocuments:
    """Read what a comparison needs to know of one task.

    Raises:
        AnalysisError: The run kept no per-document results of the metric.
    """
    known = run.tables.sample_columns()
    column = next(
        (f"{kind}.{metric}" for kind in ("metric", "counts", "labels") if f"{kind}.{metric}" in known), None
    )
    if column is None:
        raise AnalysisError(f"the samples hold no results of {metric!r}", where=f"{run.path}, task {task}")
    frame = run.samples(["document", "cluster", *HASHES.values(), column], tasks=[task])
    frame = frame.rename(columns={column: "value"})
    if frame.empty or frame["value"].isna().any():
        raise AnalysisError(
            f"the samples hold no results of {metric!r} for some documents", where=f"{run.path}, task {task}"
        )
    # A dataset may repeat an id; the nth occurrence on one side then answers to the nth on the other.
    repeat = frame.groupby("document").cumcount()
    frame["document"] = frame["document"].where(repeat == 0, frame["document"] + "#" + repeat.astype(str))
    return TaskDocuments(frame.set_index("document"), metric, aggregation)


def differences(
    first: TaskDocuments, second: TaskDocuments, *, ignore: Collection[str] = ()
) -> tuple[pd.Index[Any], list[str]]:
    """Which documents both systems were asked alike, and what keeps the others apart.

    Args:
        first: Results of one system.
        second: Results of the other.
        ignore: Of ``prompt`` and ``target``, what may differ all the same.

    Returns:
        The documents in common, in the first system's order, and the reasons why there are not more.
    """
    shared = first.frame.index[first.frame.index.isin(second.frame.index)]
    reasons = []
    for name, one, two in (("first", first, second), ("second", second, first)):
        alone = one.frame.index.difference(two.frame.index, sort=False)
        if len(alone):
            reasons.append(f"{len(alone)} documents only in the {name} ({_some(alone)})")
    same = np.ones(len(shared), dtype=bool)
    for name, column in HASHES.items():
        if name in ignore:
            continue
        equal = (first.frame.loc[shared, column] == second.frame.loc[shared, column]).to_numpy(dtype=bool)
        if not equal.all():
            reasons.append(f"{int((~equal).sum())} {name}s differ ({_some(shared[~equal])})")
        same &= equal
    return shared[same], reasons


def _some(documents: Any) -> str:
    names = [str(name) for name in documents[:3]]
    return ", ".join(names) + (", …" if len(documents) > 3 else "")
