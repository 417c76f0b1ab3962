"""Routing alongside scores: does it go with right answers, and do tasks that share experts share gains?

A document counts once, whatever its length: what is compared are its shares of choices. Documents of a
cluster (a case, a paper) move together wherever something is drawn at random.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from medbench.analysis import router_metrics as metrics
from medbench.analysis.routing_documents import RoutedTask, routed_tasks
from medbench.analysis.runs import Run, Runs
from medbench.errors import AnalysisError
from medbench.statistics import holm

__all__ = ["SharedGains", "load_correctness", "right_and_wrong", "shared_gains"]

Floats = NDArray[np.float64]
_DRAWS = 2_000
_FEWEST = 2  # documents on either side


def right_and_wrong(
    runs: Runs, *, phase: str | None = "prompt", seed: int = 0, draws: int = _DRAWS
) -> pd.DataFrame:
    """Whether documents that were answered rightly are routed otherwise than the rest, task by task.

    The statistic is 1 - JSD₂ of the mean loads of both sides, meant over routers. Under the permutation test
    the marks "right" are dealt out anew among the task's documents. A document is right if its score is 1
    where all are 0 or 1, and above the task's median otherwise (below, where lower is better).

    Args:
        runs: Runs with the routing of single documents.
        phase: Only tokens of this phase; ``None``: all.
        seed: Seed of the permutations.
        draws: How many.

    Returns:
        A row per run and task: ``right``, ``wrong`` (documents), ``similarity``, ``chance`` (its mean under
        permutation), ``low`` (its 5 % quantile), ``p_value`` and ``p_holm`` (over the tasks of a run). Tasks
        with fewer than two documents on a side have no figures. Where documents come in clusters the marks
        are dealt to whole clusters, and a cluster is right if most of its documents are.
    """
    rows = []
    for run in runs:
        mine = []
        for task in routed_tasks(run, phase):
            load, right = _by_cluster(task)
            row: dict[str, Any] = {
                "model": run.model,
                "run": run.run,
                "task": task.task,
                "right": int(right.sum()),
                "wrong": int((~right).sum()),
            }
            found = dict.fromkeys(("similarity", "chance", "low", "p_value"), np.nan)
            if min(row["right"], row["wrong"]) >= _FEWEST:
                found = _permuted(load, right, np.random.default_rng(seed), draws)
            mine.append(row | found)
        adjusted = holm([row["p_value"] for row in mine])
        rows += [row | {"p_holm": p} for row, p in zip(mine, adjusted, strict=True)]
    if not rows:
        raise AnalysisError("no task has both results and the routing of its documents")
    return pd.DataFrame(rows)


def load_correctness(
    runs: Runs, *, phase: str | None = "prompt", pooled: bool = False, confidence: float = 0.95
) -> pd.DataFrame:
    """Which expert loads go with right answers: correlations over documents.

    With scores of 0 and 1 this is the point-biserial correlation. Intervals by Fisher's transform, p-values
    by Student's t; both take documents for independent.

    Args:
        runs: Runs with the routing of single documents.
        phase: Only tokens of this phase; ``None``: all.
        pooled: Over the documents of all tasks, with the means of each task taken off both sides, so that
            easy tasks do not speak for their experts.
        confidence: Coverage of the intervals.

    Returns:
        A row per run, task (empty if pooled), layer, projection and expert: ``r`` (chance 0), ``low``,
        ``high``, ``p_value``, ``p_holm`` (over the experts and tasks of a run), ``n``. NaN where nothing
        varies.
    """
    rows: list[pd.DataFrame] = []
    for run in runs:
        tasks = list(routed_tasks(run, phase))
        groups = [("", tasks)] if pooled else [(task.task, [task]) for task in tasks]
        parts = []
        for name, members in groups:
            by_shape: dict[Any, list[RoutedTask]] = {}
            for member in members:
                by_shape.setdefault((member.routers, member.load.shape[2]), []).append(member)
            for (routers, experts), alike in by_shape.items():
                load = np.concatenate([task.load - task.load.mean(axis=0) for task in alike])
                score = np.concatenate([_goodness(task) - _goodness(task).mean() for task in alike])
                r, low, high, p = _correlation(load.reshape(len(load), -1), score, len(alike), confidence)
                parts.append(
                    pd.DataFrame(
                        {
                            "model": run.model,
                            "run": run.run,
                            "task": name,
                            "layer": np.repeat([layer for layer, _ in routers], experts),
                            "projection": np.repeat([projection for _, projection in routers], experts),
                            "expert": np.tile(np.arange(experts), len(routers)),
                            "r": r,
                            "low": low,
                            "high": high,
                            "p_value": p,
                            "n": len(load),
                        }
                    )
                )
        if parts:
            joined = pd.concat(parts, ignore_index=True)
            rows.append(joined.assign(p_holm=holm(joined["p_value"].to_numpy())))
    if not rows:
        raise AnalysisError("no task has both results and the routing of its documents")
    return pd.concat(rows, ignore_index=True)


class SharedGains(NamedTuple):
    """Whether tasks that share experts gained alike between two checkpoints.

    Attributes:
        pairs: A row per pair of tasks: ``task``, ``other``, ``similarity`` of their loads in the later
            checkpoint, their ``gain`` and ``gain_other``, and ``apart`` = |gain - gain_other|.
        correlation: Of ``similarity`` with ``-apart`` over the pairs; positive if tasks that share experts
            share gains; chance 0.
        p_value: Two-sided, by Mantel's test: the gains are dealt out anew among the tasks.
        tasks: Tasks compared.
    """

    pairs: pd.DataFrame
    correlation: float
    p_value: float
    tasks: int


def shared_gains(
    later: Run, earlier: Run, *, phase: str | None = "prompt", seed: int = 0, draws: int = _DRAWS
) -> SharedGains:
    """Compare how tasks share experts with how they gained from one checkpoint to another.

    Args:
        later: Run of the checkpoint whose routing counts, with the routing of single documents.
        earlier: Run of the other checkpoint on the same tasks; its routing is not used.
        phase: Only tokens of this phase; ``None``: all.
        seed: Seed of Mantel's test (Mantel 1967).
        draws: Its permutations.

    Raises:
        AnalysisError: Fewer than four tasks were scored in both runs.
    """
    before = _main_scores(earlier)
    after = _main_scores(later)
    tasks = [task for task in routed_tasks(later, phase) if task.task in before and task.task in after]
    if len(tasks) < 4:
        raise AnalysisError(
            f"{len(tasks)} tasks were scored in both runs; at least 4 are needed", where=str(earlier.path)
        )
    gains = np.array([(after[t.task] - before[t.task]) * (1 if t.higher_is_better else -1) for t in tasks])
    similar = np.eye(len(tasks))
    for i, j in combinations(range(len(tasks)), 2):
        similar[i, j] = similar[j, i] = _similarity(tasks[i].load.mean(axis=0), tasks[j].load.mean(axis=0))
    upper = np.triu_indices(len(tasks), 1)
    apart = np.abs(gains[:, None] - gains[None, :])
    x = similar[upper]

    def correlate(order: NDArray[np.intp]) -> float:
        return _pearson(x, -apart[np.ix_(order, order)][upper])

    observed = correlate(np.arange(len(tasks)))
    rng = np.random.default_rng(seed)
    drawn = np.array([correlate(rng.permutation(len(tasks))) for _ in range(draws)])
    p = (1 + int((np.abs(drawn) >= abs(observed) - 1e-12).sum())) / (draws + 1)
    pairs = pd.DataFrame(
        {
            "task": [tasks[i].task for i in upper[0]],
            "other": [tasks[j].task for j in upper[1]],
            "similarity": x,
            "gain": gains[upper[0]],
            "gain_other": gains[upper[1]],
            "apart": apart[upper],
        }
    )
    return SharedGains(pairs, observed, p if not np.isnan(observed) else float("nan"), len(tasks))


def _goodness(task: RoutedTask) -> Floats:
    return task.score if task.higher_is_better else -task.score


def _by_cluster(task: RoutedTask) -> tuple[Floats, NDArray[np.bool_]]:
    """Loads and marks of clusters: ``[c, R, E]`` and ``[c]``; a document alone is a cluster."""
    score = _goodness(task)
    binary = np.isin(task.score, (0, 1)).all()
    right = (task.score == (1 if task.higher_is_better else 0)) if binary else score > np.median(score)
    _, code = np.unique(task.clusters.astype(str), return_inverse=True)
    size = np.bincount(code)
    load = np.zeros((len(size), *task.load.shape[1:]))
    np.add.at(load, code, task.load)
    return load / size[:, None, None], np.bincount(code, right) / size > 0.5


def _permuted(
    load: Floats, right: NDArray[np.bool_], rng: np.random.Generator, draws: int
) -> dict[str, float]:
    flat, total = load.reshape(len(load), -1), load.sum(axis=0)
    marks = rng.permuted(np.tile(right.astype(np.float64), (draws, 1)), axis=1)
    first = (np.vstack([right.astype(np.float64), marks]) @ flat).reshape(1 + draws, *total.shape)
    n = int(right.sum())
    similarity = _similarity(first / n, (total - first) / (len(right) - n))
    observed, drawn = float(similarity[0]), similarity[1:]
    # Sums in another order differ in their last digits; that must not decide.
    extreme = int((drawn <= observed + 1e-12).sum())
    return {
        "similarity": observed,
        "chance": float(drawn.mean()),
        "low": float(np.quantile(drawn, 0.05)),
        "p_value": (extreme + 1) / (draws + 1),
    }


def _similarity(first: Floats, second: Floats) -> Any:
    return metrics.jensen_shannon_similarity(first, second).mean(axis=-1)


def _correlation(
    load: Floats, score: Floats, groups: int, confidence: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Pearson's r of each column with the score; both have mean 0 within each of ``groups`` groups."""
    free = len(score) - 1 - groups  # degrees of freedom
    spread = np.sqrt((load**2).sum(axis=0) * (score**2).sum())
    varies = (spread > 1e-12) & (free > 0)
    r: Floats = np.full(load.shape[1], np.nan)
    np.divide(score @ load, spread, out=r, where=varies)
    r = np.clip(r, -1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(r) * np.sqrt(free / np.maximum(1 - r**2, 1e-300))
        p: Floats = 2 * special.stdtr(max(free, 1), -t)
        reach = special.ndtri(0.5 + confidence / 2) / np.sqrt(free - 1) if free > 1 else np.nan
        z = np.arctanh(r)
        low, high = np.tanh(z - reach), np.tanh(z + reach)
    return r, low, high, np.where(varies, p, np.nan)


def _pearson(x: Floats, y: Floats) -> float:
    if x.std() < 1e-12 or y.std() < 1e-12:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _main_scores(run: Run) -> dict[str, float]:
    scores = run.tables.scores().to_pandas()
    chosen = scores[(scores["kind"] == "task") & scores["main"] & scores["value"].notna()]
    return dict(zip(chosen["task"].astype(str), chosen["value"].astype(float), strict=True))
