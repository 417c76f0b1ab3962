"""Routing beside the answers: are documents that come out right routed differently from those that do not?

Needs the router counts of single documents (not ``medbench run --routing tasks``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.analysis.answers import document_values
from medbench.analysis.routing import metrics
from medbench.analysis.routing.cells import Cells, cells
from medbench.analysis.routing.loads import Loads, loads_of
from medbench.analysis.routing.tables import NotRecordedError
from medbench.analysis.runs import Run, Runs
from medbench.statistics import holm
from medbench.statistics.corpus import Floats


def routing_by_verdict(
    runs: Runs, *, seed: int = 0, permutations: int = 1_000, most: int | None = None
) -> pd.DataFrame:
    """Test for each task whether right and wrong documents are routed differently.

    The statistic is the Jensen-Shannon divergence between the expert loads of the right and the wrong
    documents, per router, then the mean. Its distribution under no difference comes from permuting the
    verdicts over the documents.

    Args:
        runs: Runs with router counts of single documents.
        seed: Seed of the permutations.
        permutations: How many.
        most: Leave out runs with more rows of router counts than that.

    Returns:
        A row per run and task: ``right``, ``wrong`` (documents), ``divergence`` (bits), ``chance`` (its mean
        under permutation), ``p_value``, ``p_adjusted`` (over the tasks of the run).

    Raises:
        NotRecordedError: No run recorded single documents.
    """
    rows = []
    for run, counted in _recorded(runs, most):
        mine: list[dict[str, Any]] = []
        for task, loads, right in _tasks(run, counted):
            shuffled = _shuffles(right, seed, permutations)
            observed = float(_divergence(loads, right[None])[0])
            drawn = _divergence(loads, shuffled)
            mine.append(
                {
                    "model": run.model,
                    "run": run.run,
                    "task": task,
                    "right": int(right.sum()),
                    "wrong": int((~right).sum()),
                    "divergence": observed,
                    "chance": float(drawn.mean()),
                    "p_value": float(((drawn >= observed - 1e-12).sum() + 1) / (permutations + 1)),
                }
            )
        for row, adjusted in zip(mine, holm([row["p_value"] for row in mine]), strict=True):
            rows.append({**row, "p_adjusted": float(adjusted)})
    names = ["model", "run", "task", "right", "wrong", "divergence", "chance", "p_value", "p_adjusted"]
    return pd.DataFrame(rows, columns=names)


def loads_by_verdict(runs: Runs, *, seed: int = 0, permutations: int = 1_000) -> pd.DataFrame:
    """Which experts serve right documents more, or less, than wrong ones.

    Returns:
        A row per run, task, layer, projection and expert: ``load_right`` and ``load_wrong`` (mean load
        share of the documents), ``difference`` and ``p_adjusted``: adjusted over all experts of the task by
        the permutation distribution of the largest standardized difference (Westfall & Young 1993, maxT).

    Raises:
        NotRecordedError: No run recorded single documents.
    """
    parts = []
    for run, counted in _recorded(runs):
        for task, loads, right in _tasks(run, counted):
            shares = np.nan_to_num(metrics.load_share(loads.used)).reshape(len(right), -1)
            observed = _standardized(shares, right[None])[0]
            largest = np.abs(_standardized(shares, _shuffles(right, seed, permutations))).max(axis=1)
            exceeded = (largest[:, None] >= np.abs(observed) - 1e-12).sum(axis=0)
            experts = loads.used.shape[2]
            part = loads.routers.loc[loads.routers.index.repeat(experts)].reset_index(drop=True)
            means = [shares[chosen].mean(axis=0) for chosen in (right, ~right)]
            part = part.assign(
                expert=np.tile(np.arange(experts), len(loads.routers)),
                load_right=means[0],
                load_wrong=means[1],
                difference=means[0] - means[1],
                p_adjusted=(exceeded + 1) / (permutations + 1),
            )
            part.insert(0, "task", task)
            part.insert(0, "run", run.run)
            part.insert(0, "model", run.model)
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _recorded(runs: Runs, most: int | None = None) -> list[tuple[Run, Cells]]:
    """The runs that recorded single documents, with their counts."""
    found = []
    for run in runs:
        frame = run.routing(most=most)
        if len(frame) and (frame["document"] >= 0).any():
            found.append((run, cells(frame)))
    if not found:
        raise NotRecordedError(
            "no run recorded the routing of single documents", hint="run with --routing documents"
        )
    return found


def _tasks(run: Run, counted: Cells) -> list[tuple[str, Loads, NDArray[np.bool_]]]:
    """Tasks with both right and wrong documents, with the loads and verdicts of those."""
    kinds = [name for name in run.tables.sample_columns() if name.startswith(("counts.", "labels."))]
    samples = run.samples(["task", "doc_id", "score", *kinds])
    samples["value"] = document_values(samples)
    names = counted.keys["task"].astype(str)
    found = []
    for task in sorted(names.unique()):
        values = samples[samples["task"] == task].drop_duplicates("doc_id").set_index("doc_id")["value"]
        judged = (names == task) & counted.keys["document"].isin(values.index[values.notna()])
        if not judged.any():
            continue
        loads = loads_of(counted.select(judged.to_numpy()))
        right = values.loc[loads.documents["document"]].to_numpy() >= 1
        if 0 < right.sum() < len(right):
            found.append((task, loads, right))
    return found


def _shuffles(right: NDArray[np.bool_], seed: int, permutations: int) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(right, (permutations, 1)), axis=1)


def _divergence(loads: Loads, right: NDArray[np.bool_]) -> Floats:
    """Mean divergence over routers for every row of verdicts, ``[permutations]``."""
    flat = loads.used.reshape(len(loads.documents), -1)
    one = (right.astype(np.float64) @ flat).reshape(len(right), *loads.used.shape[1:])
    two = flat.sum(axis=0).reshape(loads.used.shape[1:]) - one
    similar = metrics.jensen_shannon_similarity(metrics.load_share(one), metrics.load_share(two))
    found: Floats = 1 - np.nanmean(similar, axis=1)
    return found


def _standardized(shares: Floats, right: NDArray[np.bool_]) -> Any:
    """Difference of the mean shares over the deviation of the shares, ``[permutations, routers * E]``."""
    deviation = shares.std(axis=0)
    n, size = shares.shape[0], right.sum(axis=1, keepdims=True)
    one = right.astype(np.float64) @ shares
    difference = one / size - (shares.sum(axis=0) - one) / (n - size)
    return np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 0)
