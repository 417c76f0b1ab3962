"""Paired comparison of systems by an annotation of the documents: a test per task and cell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis.annotations import annotation_column, cell_order
from medbench.analysis.compare import Opponents, by_size, opponents, refuse_nothing
from medbench.analysis.compared import ComparedTask, Pair, Side, Wanted, compare_documents, judge, pair
from medbench.analysis.documents import SystemDocuments
from medbench.analysis.runs import Runs
from medbench.errors import AnalysisError
from medbench.statistics import DRAWS, holm


@dataclass(frozen=True)
class ComparedCell(ComparedTask):
    """A row of :func:`compare_cells`, with the fields of a row of a comparison of tasks.

    Attributes:
        by: Column of the samples that tells documents apart.
        cell: What the documents share by it; empty for the task as a whole.
        unannotated: Documents of the task that were compared, but lie in no cell.
    """

    by: str = ""
    cell: str = ""
    unannotated: int = 0


_FRONT = ("model", "baseline", "task", "kind", "by", "cell")


def compare_cells(
    runs: Runs,
    baseline: str,
    annotation: str,
    *,
    by: str = "model",
    tasks: Sequence[str] | None = None,
    intersect: bool = False,
    ignore: Collection[str] = (),
    alpha: float = 0.05,
    seed: int = 0,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Compare every model with a baseline, cell by cell: the documents of a task that are annotated alike.

    Systems, documents and tests are those of :func:`medbench.analysis.compare`.

    Args:
        runs: Runs of the systems.
        baseline: Name of the baseline.
        annotation: ``subject`` or the name of an annotation, such as ``question_type``.
        by: ``model`` or ``run``, what counts as a system.
        tasks: Only these tasks, and those of these groups.
        intersect: Compare the documents that agree instead of refusing a task where some do not.
        ignore: Hashes that need not agree: ``prompt`` or ``target``.
        alpha: Level of the verdicts, after Holm's adjustment: of cells over all cells of a model, whatever
            their task; of tasks over the tasks of the model.
        seed: Seed of bootstrap and randomization.
        draws: Draws of bootstrap and randomization.

    Returns:
        A row per model, task and cell, with the fields of :class:`ComparedCell`: each task (``kind``
        ``task``), largest differences first, with its cells (``cell``) behind it in their own order.
        ``unannotated`` of a task says how many of its documents are in none.

    Raises:
        AnalysisError: The baseline, a task or the annotation is unknown, there is nothing to compare the
            baseline with, no task may be compared, or none that may be has cells.
    """
    column = annotation_column(annotation, runs.sample_columns())
    wanted = Wanted(intersect, frozenset(ignore), alpha, seed, draws)
    rows: list[ComparedCell] = []
    for against in opponents(runs, baseline, wanted, by=by, tasks=tasks):
        rows += _compare(against, column, wanted)
    refuse_nothing(rows)
    if not any(row.kind == "cell" for row in rows):
        raise AnalysisError(
            f"no document that was compared is annotated with {annotation!r}",
            where=", ".join(dict.fromkeys(row.task for row in rows[:3])),
            hint="choose tasks whose files say that of their questions",
        )
    names = [field.name for field in fields(ComparedCell)]
    return pd.DataFrame(rows, columns=[*_FRONT, *(name for name in names if name not in _FRONT)])


def _compare(against: Opponents, column: str, wanted: Wanted) -> list[ComparedCell]:
    """All rows of one model."""
    mine, base = (
        Side(system, SystemDocuments(system, against.tasks, column))
        for system in (against.system, against.baseline)
    )
    found = [_task(pair(task, mine, base, wanted), column, wanted) for task in against.tasks]
    wholes = _judged([whole for whole, _ in found], wanted)
    cells = iter(_judged([cell for _, parts in found for cell in parts], wanted))
    judged = [(whole, [next(cells) for _ in parts]) for whole, (_, parts) in zip(wholes, found, strict=True)]
    return [
        row for whole, parts in sorted(judged, key=lambda task: by_size(task[0])) for row in (whole, *parts)
    ]


def _judged(rows: Sequence[ComparedCell], wanted: Wanted) -> list[ComparedCell]:
    """Rows with their verdicts, adjusted over all of them."""
    adjusted = holm([row.p_value for row in rows])
    return [judge(row, float(p), wanted.alpha) for row, p in zip(rows, adjusted, strict=True)]


def _task(found: Pair | ComparedTask, column: str, wanted: Wanted) -> tuple[ComparedCell, list[ComparedCell]]:
    """A task as a whole, and its cells."""
    if isinstance(found, ComparedTask):
        return _row(found, column), []
    cells = _cells(found)
    if isinstance(cells, str):
        return _row(ComparedTask(**found.start, reason=cells), column), []
    whole = _row(compare_documents(found, wanted), column, unannotated=int(cells.isna().sum()))
    parts = []
    for cell in cell_order(cells):
        start = {**found.start, "kind": "cell"}
        part = found._replace(start=start, documents=cells.index[(cells == cell).to_numpy()], left_out="")
        parts.append(_row(compare_documents(part, wanted), column, cell=cell))
    return whole, parts


def _cells(found: Pair) -> pd.Series[Any] | str:
    """The cell of each document, or why it is not known: the two sides must not contradict each other."""
    one, two = (side.frame["cell"].loc[found.documents] for side in (found.one, found.two))
    apart = (one.notna() & two.notna() & (one != two)).to_numpy()
    if apart.any():
        names = ", ".join(map(str, found.documents[apart][:3]))
        return f"{int(apart.sum())} documents are annotated otherwise in one run than in the other ({names})"
    # A run of an older version says nothing of documents that are the same.
    joined = np.where(one.notna(), one.to_numpy(dtype=object), two.to_numpy(dtype=object))
    return pd.Series(joined, index=found.documents, dtype=object)


def _row(row: ComparedTask, column: str, **more: Any) -> ComparedCell:
    values = {field.name: getattr(row, field.name) for field in fields(ComparedTask)}
    return ComparedCell(**values, by=column, **more)
