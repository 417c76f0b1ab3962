"""Router counts of single documents joined with how right the answers to them were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.analysis.router_cells import cells
from medbench.analysis.runs import Run
from medbench.errors import AnalysisError
from medbench.statistics import document_scores

__all__ = ["RoutedTask", "routed_tasks"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RoutedTask:
    """Documents of one task whose routing and results are both known.

    Attributes:
        task: Its name.
        documents: ``[n]`` their places in the task.
        clusters: ``[n]`` keys of documents that belong together.
        score: ``[n]`` how right each answer was (:func:`medbench.statistics.document_scores`).
        higher_is_better: Whether more of it is better.
        routers: The R routers: (layer, projection).
        load: ``[n, R, E]`` share of the document's choices that each expert received.
    """

    task: str
    documents: NDArray[np.int64]
    clusters: NDArray[Any]
    score: Floats
    higher_is_better: bool
    routers: tuple[tuple[int, str], ...]
    load: Floats


def routed_tasks(run: Run, phase: str | None = "prompt") -> Iterator[RoutedTask]:
    """Yield the tasks of a run, by name.

    Args:
        run: A run that recorded the routing of single documents.
        phase: Only tokens of this phase; ``None``: all. How long an answer is may have to do with whether it
            is right, hence the prompt by default.

    Raises:
        AnalysisError: The run recorded no routing of single documents, or has no results that fit.
    """
    table = run.tables.routing(None)
    frame = pd.DataFrame() if table is None else table.to_pandas()
    if frame.empty or not (frame["document"] >= 0).any():
        raise AnalysisError(
            "the routing of single documents is not known",
            where=str(run.path),
            hint="medbench run --routing documents",
        )
    frame = frame[frame["document"] >= 0]
    if phase is not None:
        frame = frame[frame["phase"] == phase]
    merged = cells(frame).merge(["task", "document", "layer", "projection"])
    results = _results(run)
    keys = merged.keys
    for task, part in keys.groupby(keys["task"].astype(str), sort=True):
        if str(task) not in results:
            continue
        scored, higher = results[str(task)]
        pairs = list(zip(part["layer"].astype(int), part["projection"].astype(str), strict=True))
        routers = sorted(set(pairs))
        place = {router: i for i, router in enumerate(routers)}
        documents = np.intersect1d(part["document"].to_numpy(), scored.index.to_numpy())
        known = part["document"].isin(documents).to_numpy()
        row = np.searchsorted(documents, part["document"].to_numpy()[known])
        count = np.zeros((len(documents), len(routers), merged.count.shape[1]))
        column = np.array([place[pair] for pair in pairs])[known]
        np.add.at(count, (row, column), merged.count[part.index.to_numpy()[known]])
        total = count.sum(axis=2)
        whole = (total > 0).all(axis=1)  # a document without tokens in this phase has no routing
        if not whole.any():
            continue
        chosen = scored.loc[documents[whole]]
        yield RoutedTask(
            task=str(task),
            documents=documents[whole].astype(np.int64),
            clusters=chosen["cluster"].to_numpy(),
            score=chosen["score"].to_numpy(dtype=np.float64),
            higher_is_better=higher,
            routers=tuple(routers),
            load=count[whole] / total[whole][:, :, None],
        )


def _results(run: Run) -> dict[str, tuple[pd.DataFrame, bool]]:
    """By task: how right each document was, by its place in the task, and whether more is better."""
    scores = run.tables.scores().to_pandas()
    scores = scores[(scores["kind"] == "task") & scores["main"]]
    columns = set(run.tables.sample_columns())
    names = {
        f"{kind}.{metric}" for kind in ("metric", "counts", "labels") for metric in scores["metric"].unique()
    }
    frame = run.samples(["task", "doc_id", "cluster", *sorted(names & columns)])
    found = {}
    by_task = dict(list(frame.groupby(frame["task"].astype(str), sort=False)))
    for row in scores.to_dict("records"):
        part = by_task.get(str(row["task"]))
        if part is None:
            continue
        column = next(
            (
                name
                for kind in ("metric", "counts", "labels")
                if (name := f"{kind}.{row['metric']}") in part and part[name].notna().all()
            ),
            None,
        )
        if column is None:
            continue
        values: Any = part[column].to_numpy()
        if row["aggregation"] != "mean":
            values = np.stack([np.asarray(value, dtype=object) for value in values])
        score = document_scores(values, str(row["aggregation"]))
        chosen = pd.DataFrame({"cluster": part["cluster"].to_numpy(), "score": score}, index=part["doc_id"])
        found[str(row["task"])] = (chosen, bool(row["higher_is_better"]))
    return found
