"""Which experts serve which tasks, languages or families more than chance would have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis.kinds import kind_names
from medbench.analysis.routing.cells import Cells, cells
from medbench.analysis.routing.loads import loads_of
from medbench.analysis.routing.tables import CELL_KEYS
from medbench.analysis.runs import Runs
from medbench.errors import AnalysisError
from medbench.statistics.corpus import Floats
from medbench.statistics.resampling import bootstrap_totals


def task_groups(runs: Runs, by: Sequence[str] = ("language", "family")) -> dict[str, str]:
    """The kind of each task, such as ``zh-exam``.

    Args:
        runs: Runs that scored the tasks.
        by: Columns of ``runs.scores()`` that make a kind; ``other`` stands for what a task does not say.

    Raises:
        AnalysisError: There is no such column, or a task is of one kind in one and of another in another run.
    """
    scores = runs.scores()
    unknown = [name for name in by if name not in scores]
    if unknown or not by:
        raise AnalysisError(
            f"tasks cannot be grouped by {', '.join(unknown) or 'nothing'}", hint="language, family, protocol"
        )
    tasks = scores[scores["kind"] == "task"]
    kinds = pd.DataFrame({"task": tasks["task"].astype(str).to_numpy(), "kind": kind_names(tasks, by)})
    kinds = kinds.drop_duplicates()
    twice = kinds[kinds["task"].duplicated(keep=False)]
    if len(twice):
        raise AnalysisError(
            f"{twice['task'].iloc[0]} is of different kinds: {', '.join(twice['kind'].iloc[:2])}",
            hint="its definition changed from one run to another; look at the runs one by one",
        )
    return dict(zip(kinds["task"], kinds["kind"], strict=True))


def regroup(frame: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Put the tasks of a routing table together, so that every metric of tasks is one of groups.

    Args:
        frame: ``runs.routing()``.
        groups: The group of each task; tasks without one are left out.

    Returns:
        A table of the same form with the group's name in ``task``. Documents keep apart by new numbers,
        unless a task of the group recorded only all of them together: then the group does so too.
    """
    return regrouped(cells(frame), groups).to_frame()


def regrouped(counted: Cells, groups: Mapping[str, str]) -> Cells:
    """As :func:`regroup`, of counts that are arranged already."""
    kept = counted.select(counted.keys["task"].astype(str).isin(list(groups)).to_numpy())
    keys = kept.keys
    task = keys["task"].astype(str).map(dict(groups))
    numbers = keys.groupby(["task", "document"], observed=True, sort=True).ngroup()
    single = (keys["document"] >= 0).groupby([keys["model"], keys["run"], task], observed=True)
    known = single.transform("all").to_numpy(dtype=bool)
    kept = replace(kept, keys=keys.assign(task=task, document=np.where(known, numbers, -1)))
    # Documents have numbers of their own; only all documents of several tasks have the same key.
    return kept if known.all() else kept.merge(CELL_KEYS)


def specialization(
    frame: pd.DataFrame | Cells,
    *,
    across_routers: bool = False,
    phase: str | None = None,
    seed: int = 0,
    draws: int = 1_000,
) -> pd.DataFrame:
    """How often tokens of a task choose an expert: n_{i,task} / T_task against k / E.

    Of a dense gate, which chooses all: the mean weight that they give it, against 1 / E.

    Args:
        frame: ``runs.routing()``, or what :func:`regroup` made of it.
        across_routers: Mean over all routers of the model, expert by expert. That has a meaning only where
            experts of one number belong together, as where training tied them to the same tasks.
        phase: Only tokens of this phase.
        seed: Seed of the bootstrap over documents.
        draws: Its draws.

    Returns:
        A row per run, task, layer, projection (both absent across routers) and expert: ``rate`` with ``low``
        and ``high`` (NaN without counts of single documents), ``elsewhere`` (the same over all other tasks;
        NaN if there are none), ``chance`` and ``documents``.
    """
    counted = cells(frame, phase).merge(["model", "run", "task", "document", "layer", "projection"])
    parts = []
    for (model, run), part in counted.keys.groupby(["model", "run"], observed=True, sort=True):
        mine = counted.select(counted.keys.index.isin(part.index))
        parts.append(_of_run(mine, across_routers, seed, draws).assign(model=str(model), run=str(run)))
    found = pd.concat(parts, ignore_index=True)
    return found[["model", "run", *(name for name in found.columns if name not in ("model", "run"))]]


def _of_run(mine: Cells, across: bool, seed: int, draws: int) -> pd.DataFrame:
    experts, _ = mine.shape()
    per_token = float(np.nanmax(mine.per_token)) if (mine.tokens > 0).any() else 0.0
    loads = loads_of(mine)
    routers = list(loads.routers.itertuples(index=False, name=None))
    sums = np.concatenate([loads.used[..., :experts], loads.tokens[..., None]], axis=2)
    task_of, document_of = (loads.documents[name].to_numpy() for name in ("task", "document"))
    total, parts = sums.sum(axis=0), []
    for task in dict.fromkeys(task_of):
        own = sums[task_of == task]
        known = bool((document_of[task_of == task] >= 0).all())
        low = high = np.full((1 if across else len(routers), experts), np.nan)
        if known and len(own) > 1:
            blocks = bootstrap_totals(own.reshape(len(own), -1), seed=seed, draws=draws)
            drawn = np.concatenate([_rates(block.reshape(-1, *total.shape), across) for block in blocks])
            low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
        rate = _rates(own.sum(axis=0), across)
        places: dict[str, Any] = {}
        if not across:
            places = {
                "layer": np.repeat([layer for layer, _ in routers], experts),
                "projection": np.repeat([projection for _, projection in routers], experts),
            }
        parts.append(
            pd.DataFrame(
                {
                    "task": task,
                    **places,
                    "expert": np.tile(np.arange(experts), len(rate)),
                    "rate": rate.ravel(),
                    "low": low.ravel(),
                    "high": high.ravel(),
                    "elsewhere": _rates(total - own.sum(axis=0), across).ravel(),
                    "chance": per_token / experts,
                    "documents": len(own) if known else 0,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _rates(sums: Floats, across: bool) -> Floats:
    """Choices and tokens ``[..., R, E + 1]`` to rates ``[..., R, E]``; ``[..., 1, E]`` across routers."""
    tokens = sums[..., -1:]
    rates: Floats = np.full((*sums.shape[:-1], sums.shape[-1] - 1), np.nan)
    np.divide(sums[..., :-1], tokens, out=rates, where=tokens > 0)
    return rates.mean(axis=-2, keepdims=True) if across else rates
