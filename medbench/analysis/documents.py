"""Per-document results of a task, and whether two systems were asked the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis.annotations import cells_in
from medbench.analysis.runs import Run
from medbench.analysis.systems import System
from medbench.errors import AnalysisError, StatisticsError
from medbench.runs.schema import value_columns
from medbench.statistics import AGGREGATIONS, sufficient
from medbench.statistics.corpus import CORPUS_AGGREGATIONS

# How far a score made of its documents may be from the one stated, relative to its size.
_AGREEMENT = 1e-6

#: What must agree for two results to be of the same question.
HASHES = {"document": "doc_hash", "prompt": "prompt_hash", "target": "target_hash"}


@dataclass(frozen=True)
class TaskDocuments:
    """Results of one task, a row per document, indexed by document.

    Attributes:
        frame: Columns ``cluster``, the hashes, ``value`` and, where documents are told apart, ``cell``.
        metric: The main metric.
        aggregation: How the values make a score.
    """

    frame: pd.DataFrame
    metric: str
    aggregation: str

    def identity(self) -> str:
        """A hash that is equal for the same documents with the same targets, in whatever order."""
        ordered = self.frame.sort_index()
        texts = zip(ordered.index, ordered["doc_hash"], ordered["target_hash"], strict=True)
        return hashlib.sha256("\n".join(map(str, texts)).encode("utf-8")).hexdigest()

    def values(self, documents: Any = None) -> Any:
        """Results as :func:`medbench.statistics.interval` takes them.

        Args:
            documents: Only these, in this order.
        """
        column = self.frame["value"] if documents is None else self.frame["value"].loc[documents]
        if self.aggregation == "mean":
            return column.to_numpy(dtype=np.float64)
        if self.aggregation in CORPUS_AGGREGATIONS:
            return column.tolist()
        return np.stack([np.asarray(value, dtype=object) for value in column])


class SystemDocuments:
    """Per-document results of a system; each of its runs is read once.

    Args:
        system: The system.
        tasks: Tasks that will be asked for.
        annotation: Column of samples that tells documents apart, if they are to be.
    """

    def __init__(self, system: System, tasks: Iterable[str], annotation: str | None = None) -> None:
        self._system = system
        self._annotation = annotation
        self._tasks = [task for task in tasks if task in system.runs]
        self._frames: dict[str, pd.DataFrame] = {}

    def read(self, task: str) -> TaskDocuments:
        """Results of one task.

        Raises:
            AnalysisError: The run kept no per-document results of its main metric, or others than those that
                its score was made of.
        """
        run, score = self._system.runs[task], self._system.scores.loc[task]
        metric, where = str(score["metric"]), f"{self._system.runs[task].path}, task {task}"
        if task not in self._frames:
            self._read_run(run)
        frame = self._frames.get(task)
        named = (name for name in value_columns(metric) if frame is not None and name in frame)
        column = next(named, None)
        if frame is None or column is None:
            raise AnalysisError(f"the samples hold no results of {metric!r}", where=where)
        if frame[column].isna().any():
            raise AnalysisError(f"the samples hold no results of {metric!r} for some documents", where=where)
        chosen = frame[["cluster", *HASHES.values(), column]].rename(columns={column: "value"})
        if self._annotation is not None:
            said = frame.get(self._annotation, pd.Series(None, frame.index, dtype=object))
            chosen["cell"] = cells_in(said)
        if column.startswith("items."):
            chosen["value"] = [json.loads(text) for text in chosen["value"]]
        found = TaskDocuments(chosen, metric, str(score["aggregation"]))
        _belongs(found, score["value"], where)
        return found

    def _read_run(self, run: Run) -> None:
        mine = [task for task in self._tasks if self._system.runs[task] is run]
        metrics = {str(self._system.scores.at[task, "metric"]) for task in mine}
        wanted = [column for metric in sorted(metrics) for column in value_columns(metric)]
        said = [] if self._annotation is None else [self._annotation]
        frame = run.samples(["task", "document", "cluster", *HASHES.values(), *said, *wanted], tasks=mine)
        for task, part in frame.groupby("task", sort=False):
            # A dataset may repeat an id; the nth on one side then answers to the nth on the other.
            repeat = part.groupby("document").cumcount()
            name = part["document"].where(repeat == 0, part["document"] + "#" + repeat.astype(str))
            kept = part.drop(columns=["task", "document"]).dropna(axis="columns", how="all")
            self._frames[str(task)] = kept.set_index(pd.Index(name, name="document"))


def _belongs(documents: TaskDocuments, value: Any, where: str) -> None:
    """See that documents make the score beside them: what they are read as may not be what they are.

    Raises:
        AnalysisError: They make another, or cannot be read so.
    """
    if documents.aggregation not in AGGREGATIONS or value is None or pd.isna(value):
        return
    try:
        made = sufficient(documents.values(), documents.aggregation).value
    except StatisticsError as error:
        raise AnalysisError(
            f"the results of {documents.metric!r} cannot be read: {error.what}", where=where
        ) from error
    if not math.isclose(made, float(value), rel_tol=_AGREEMENT, abs_tol=_AGREEMENT):
        raise AnalysisError(
            f"the documents make a {documents.metric} of {made:.6g}, the score is {float(value):.6g}",
            where=where,
            hint="the score was made otherwise than the run says, or one of its tables was changed",
        )


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
    for name, mine, other in (("first", first, second), ("second", second, first)):
        alone = mine.frame.index.difference(other.frame.index, sort=False)
        if len(alone):
            reasons.append(f"{len(alone)} documents only in the {name} ({_some(alone)})")
    same = np.ones(len(shared), dtype=bool)
    rows = [side.frame.index.get_indexer(shared) for side in (first, second)]
    for name, column in HASHES.items():
        if name in ignore:
            continue
        one, two = (
            side.frame[column].to_numpy(dtype=object)[row]
            for side, row in zip((first, second), rows, strict=True)
        )
        equal = np.asarray(one == two, dtype=bool)
        if not equal.all():
            reasons.append(f"{int((~equal).sum())} {name}s differ ({_some(shared[~equal])})")
        same &= equal
    return shared[same], reasons


def _some(documents: Any) -> str:
    names = [str(name) for name in documents[:3]]
    return ", ".join(names) + (", …" if len(documents) > 3 else "")
