"""What the experts of recorded runs did, as tidy frames with chance levels and intervals.

All functions take ``runs.routing()``, or its cells. Intervals resample documents, not tokens, and are NaN
where a run recorded only the counts of all documents together (``medbench run --routing tasks``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.analysis.routing import metrics
from medbench.analysis.routing.cells import Cells, cells
from medbench.analysis.routing.loads import loads_of
from medbench.analysis.routing.tables import NotRecordedError
from medbench.errors import AnalysisError
from medbench.statistics.corpus import Floats
from medbench.statistics.resampling import bootstrap_totals

#: The grouping of the recorded tables.
BY = ("model", "run", "task", "phase", "layer", "projection")
_DRAWS = 1_000


def expert_load(frame: pd.DataFrame | Cells, by: Sequence[str] = BY) -> pd.DataFrame:
    """How much each expert did.

    Args:
        frame: ``runs.routing()``.
        by: Columns to keep apart; tokens of all else are added up. Models stay apart in any case.

    Returns:
        A row per group and expert: ``tokens``, ``count``, ``load`` = f_i and ``load_chance`` = 1 / E,
        ``rate`` = n_i / T and ``rate_chance`` = k / E (how specialized the expert is on the group, such as
        a task), ``mass`` (share of the gate weights) and ``top1`` (share of first ranks), both with chance
        1 / E. Of a dense gate (k = E) n_i is the summed gate weight, and the chance of its rate 1 / E.
    """
    merged = cells(frame).merge(_with_runs(by))
    g, e = np.nonzero(np.arange(merged.count.shape[1]) < merged.experts[:, None])
    safe = np.where(merged.tokens > 0, merged.tokens, np.nan)
    found = merged.keys.iloc[g].reset_index(drop=True)
    return found.assign(
        expert=e,
        tokens=merged.tokens[g].astype(np.int64),
        count=merged.count[g, e].astype(np.int64),
        load=metrics.load_share(merged.used)[g, e],
        load_chance=1 / merged.experts[g],
        rate=(merged.used / safe[:, None])[g, e],
        rate_chance=(merged.per_token / merged.experts)[g],
        mass=metrics.load_share(merged.mass)[g, e],
        top1=metrics.load_share(merged.top1)[g, e],
    )


def router_summary(
    frame: pd.DataFrame | Cells, by: Sequence[str] = BY, *, seed: int = 0, draws: int = _DRAWS
) -> pd.DataFrame:
    """How evenly and how decidedly routers work.

    Args:
        frame: ``runs.routing()``.
        by: Columns to keep apart.
        seed: Seed of the bootstrap over documents.
        draws: Its draws.

    Returns:
        A row per group and ``metric`` with ``value, low, high, chance, tokens`` (per router), ``experts,
        top_k, routers, documents``. A group of several routers has the mean of their metrics, because
        expert 1 of one router has nothing to do with expert 1 of another. Metrics: ``load_entropy``,
        ``token_entropy`` (mean, nats; chance ln E is that of an undecided router), ``mutual_information``,
        ``effective_experts``, ``max_violation``, ``dead_experts``, ``near_ties`` (share of tokens; no
        chance level).
    """
    by = _with_runs(by)
    detailed = cells(frame)
    merged = detailed.merge(list(dict.fromkeys([*by, "layer", "projection", "task", "document"])))
    codes = merged.keys.groupby(by, observed=True, sort=True, dropna=False).ngroup().to_numpy()
    whole = _Flat(merged)
    rows = []
    for g in range(int(codes.max()) + 1):
        members = np.flatnonzero(codes == g)
        packed, experts = whole.pack(members)
        first = merged.keys.iloc[members[0]]
        single = (whole.document_numbers[members] >= 0).all() and len(packed) > 1
        documents = len(packed) if single else 0
        value = _summary(packed.sum(axis=0), experts)
        low = high = np.full(len(_SUMMARY), np.nan)
        if documents:
            low, high = np.quantile(_bootstrap(packed, experts, seed, draws), [0.025, 0.975], axis=0)
            # A resample can lose an expert but never find one: its percentiles say nothing about the dead.
            low[_DEAD] = high[_DEAD] = np.nan
        tokens, top_k = float(packed[..., 0].sum(axis=0).mean()), float(np.nanmean(merged.top_k[members]))
        for i, name in enumerate(_SUMMARY):
            rows.append(
                {
                    **first[by].to_dict(),
                    "metric": name,
                    "value": value[i],
                    "low": low[i],
                    "high": high[i],
                    "chance": _CHANCE[name](experts.mean()),
                    "tokens": round(tokens),
                    "experts": int(experts.max()),
                    "top_k": top_k,
                    "routers": len(experts),
                    "documents": documents,
                }
            )
    return pd.DataFrame(rows)


def coactivation(frame: pd.DataFrame | Cells, by: Sequence[str] = BY) -> pd.DataFrame:
    """Which experts are chosen together.

    Returns:
        A row per group and ordered pair of experts: ``together`` = N_ij, ``share`` = N_ij / N_i and
        ``chance`` = (k - 1) / (E - 1).
    """
    merged = cells(frame).merge(_with_runs(by))
    share = metrics.coactivation(merged.coactive)
    width = merged.count.shape[1]
    inside = np.arange(width) < merged.experts[:, None]
    g, i, j = np.nonzero(inside[:, :, None] & inside[:, None, :] & ~np.eye(width, dtype=bool))
    return (
        merged.keys.iloc[g]
        .reset_index(drop=True)
        .assign(
            expert=i,
            other=j,
            together=merged.coactive[g, i, j].astype(np.int64),
            share=share[g, i, j],
            chance=metrics.coactivation_chance(merged.experts, merged.top_k)[g],
        )
    )


def task_similarity(
    frame: pd.DataFrame | Cells, *, phase: str | None = None, seed: int = 0, draws: int = 200
) -> pd.DataFrame:
    """How alike tasks are routed: 1 - JSD₂ of their loads per layer and projection, then the mean.

    Args:
        frame: ``runs.routing()``.
        phase: Only tokens of this phase.
        seed: Seed of the splits and the bootstrap.
        draws: How many.

    Returns:
        A row per run and pair of tasks (a task with itself included, similarity 1): ``similarity``, ``low``,
        ``high``, and ``split_half``: the mean similarity of two random halves of the documents within the two
        tasks, below which similarity means something. NaN without counts of single documents.
    """
    counted = cells(frame, phase)
    rows: list[dict[str, Any]] = []
    for (model, run), part in counted.keys.groupby(["model", "run"], observed=True, sort=True):
        mine = counted.select(counted.keys.index.isin(part.index))
        every = loads_of(mine)
        loads = {task: every.used[every.of(task)] for task in sorted(every.documents["task"].unique())}
        halves = {task: _split_half(load, seed, draws) for task, load in loads.items()}
        sampled = {task: _resample(load, seed + i, draws) for i, (task, load) in enumerate(loads.items())}
        pairs = [(task, task) for task in loads] + list(combinations(loads, 2))
        for a, b in pairs:
            low = high = np.nan
            if a != b and sampled[a] is not None and sampled[b] is not None:
                low, high = np.quantile(_similarity(sampled[a], sampled[b]), [0.025, 0.975])
            rows.append(
                {
                    "model": model,
                    "run": run,
                    "task": a,
                    "other": b,
                    "similarity": float(_similarity(loads[a].sum(axis=0), loads[b].sum(axis=0))),
                    "low": low,
                    "high": high,
                    "split_half": (halves[a] + halves[b]) / 2,
                }
            )
    return pd.DataFrame(rows)


def _with_runs(by: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(["model", "run", *by]))


class _Flat:
    """Everything the summary needs of many groups, ready to be cut into ``[documents, routers, 3 + 2 E]``.

    The last axis holds tokens, entropy, ties, what each expert served, and probabilities; all of them add up.
    """

    def __init__(self, merged: Cells) -> None:
        def number(columns: list[str]) -> NDArray[np.intp]:
            grouped = merged.keys.groupby(columns, observed=True, sort=True)
            return grouped.ngroup().to_numpy().astype(np.intp)

        self.document_numbers = merged.keys["document"].to_numpy()
        self._documents = number(["task", "document"])
        self._routers = number(["layer", "projection"])
        self._experts = merged.experts
        head = np.column_stack([merged.tokens, merged.entropy, merged.near_ties])
        self._values = np.hstack([head, merged.used, merged.prob])

    def pack(self, members: NDArray[np.intp]) -> tuple[Floats, NDArray[np.int64]]:
        """The tensor of some cells, and the number of experts of each of its routers."""
        documents, document = np.unique(self._documents[members], return_inverse=True)
        routers, router = np.unique(self._routers[members], return_inverse=True)
        packed = np.zeros((len(documents), len(routers), self._values.shape[1]))
        np.add.at(packed, (document, router), self._values[members])
        experts = np.zeros(len(routers), dtype=np.int64)
        np.maximum.at(experts, router, self._experts[members])
        return packed, experts


_SUMMARY: dict[str, Callable[[Floats, Floats, Floats, Any], Floats]] = {
    "load_entropy": lambda head, count, prob, experts: metrics.load_entropy(count, experts),
    "token_entropy": lambda head, count, prob, experts: head[..., 1] / head[..., 0],
    "mutual_information": lambda head, count, prob, experts: metrics.mutual_information(
        prob, head[..., 1], head[..., 0]
    ),
    "effective_experts": lambda head, count, prob, experts: metrics.effective_experts(count),
    "max_violation": lambda head, count, prob, experts: metrics.max_violation(count, experts),
    "dead_experts": lambda head, count, prob, experts: metrics.dead_experts(count, experts).astype(float),
    "near_ties": lambda head, count, prob, experts: head[..., 2] / head[..., 0],
}

_DEAD = list(_SUMMARY).index("dead_experts")

_CHANCE: dict[str, Callable[[float], float]] = {
    "load_entropy": lambda experts: 1.0,
    "token_entropy": lambda experts: float(np.log(experts)),
    "mutual_information": lambda experts: 0.0,
    "effective_experts": lambda experts: float(experts),
    "max_violation": lambda experts: 0.0,
    "dead_experts": lambda experts: 0.0,
    "near_ties": lambda experts: float("nan"),
}


def _summary(packed: Floats, experts: Any) -> Floats:
    """Metrics of every router, then their mean: ``[..., routers, 3 + 2 E]`` to ``[..., metrics]``."""
    width = (packed.shape[-1] - 3) // 2
    head, count, prob = packed[..., :3], packed[..., 3 : 3 + width], packed[..., 3 + width :]
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.stack([formula(head, count, prob, experts) for formula in _SUMMARY.values()], axis=-1)
    # A router without tokens (in a draw, or a phase that never was) has no metrics and is left out.
    used = (head[..., 0] > 0)[..., None]
    shares: Floats = np.where(used, each, 0).sum(axis=-2) / np.maximum(used.sum(axis=-2), 1)
    return np.where(used.any(axis=-2), shares, np.nan)


def _bootstrap(packed: Floats, experts: Any, seed: int, draws: int) -> Floats:
    flat = packed.reshape(len(packed), -1)
    blocks = bootstrap_totals(flat, seed=seed, draws=draws)
    return np.concatenate([_summary(block.reshape(-1, *packed.shape[1:]), experts) for block in blocks])


def _similarity(first: Floats, second: Floats) -> Floats:
    each = metrics.jensen_shannon_similarity(metrics.load_share(first), metrics.load_share(second))
    found: Floats = np.nanmean(each, axis=-1)
    return found


def _split_half(load: Floats, seed: int, draws: int) -> float:
    documents = len(load)
    if documents < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    flat = load.reshape(documents, -1)
    halves = rng.permuted(np.tile(np.arange(documents) % 2, (draws, 1)), axis=1).astype(np.float64)
    one = (halves @ flat).reshape(draws, *load.shape[1:])
    return float(_similarity(one, flat.sum(axis=0).reshape(load.shape[1:]) - one).mean())


def _resample(load: Floats, seed: int, draws: int) -> Any:
    if len(load) < 2:
        return None
    flat = load.reshape(len(load), -1)
    return np.concatenate(list(bootstrap_totals(flat, seed=seed, draws=draws))).reshape(
        draws, *load.shape[1:]
    )


def load_difference(
    first: pd.DataFrame | Cells, second: pd.DataFrame | Cells, by: Sequence[str] = BY[2:]
) -> pd.DataFrame:
    """Difference of the expert loads of two checkpoints, first minus second.

    Args:
        first: ``runs.routing()`` of one run.
        second: That of the other; experts are matched by position, so both must stem from one training.
        by: Columns to keep apart; tokens of the tasks that both ran are compared.

    Returns:
        A row per group and expert: ``load``, ``load_other``, ``difference``, ``load_chance``.

    Raises:
        AnalysisError: A side holds several runs.
        NotRecordedError: They have no tasks in common, or their routers differ in size.
    """
    counted = (cells(first), cells(second))
    if any(len(side.keys[["model", "run"]].drop_duplicates()) != 1 for side in counted):
        raise AnalysisError("loads are compared between two runs", hint="give one run directory on each side")
    # Other tasks make other loads, and say nothing about the checkpoints.
    tasks = [side.keys["task"].astype(str) for side in counted]
    shared = set(tasks[0]) & set(tasks[1])
    if not shared:
        raise NotRecordedError("the two runs have no tasks in common", hint="run both on the same tasks")
    sides = [
        expert_load(side.select(names.isin(shared).to_numpy()), by).drop(columns=["model", "run"])
        for side, names in zip(counted, tasks, strict=True)
    ]
    keys = [name for name in by if name not in ("model", "run")] + ["expert"]
    joined = sides[0].merge(sides[1][[*keys, "load", "load_chance"]], on=keys, suffixes=("", "_other"))
    if joined.empty or (joined["load_chance"] != joined["load_chance_other"]).any():
        raise NotRecordedError(
            "the two runs have no routers in common", hint="compare checkpoints of one layout"
        )
    found = joined.assign(difference=joined["load"] - joined["load_other"])
    return found[[*keys, "load", "load_other", "difference", "load_chance"]]
