"""Metrics that need every token: agreement of two checkpoints, and repetition along a text."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pandas as pd

from medbench.errors import AnalysisError
from medbench.runs.traces import PHASES, Traces
from medbench.statistics.corpus import Floats
from medbench.statistics.resampling import bootstrap_totals

_LEVELS = [0.025, 0.975]


def checkpoint_agreement(first: Traces, second: Traces, *, seed: int = 0, draws: int = 1_000) -> pd.DataFrame:
    """How far the routers of two checkpoints choose alike on the same tokens.

    Args:
        first: Trace of one checkpoint.
        second: Trace of the other on the same prompts. Experts are matched by number, so both must stem from
            one training.
        seed: Seed of the bootstrap over documents.
        draws: Its draws.

    Returns:
        A row per layer and projection: ``observed`` = mean of |S ∩ S'| / k, ``chance`` = k / E, ``kappa`` =
        (observed - chance) / (1 - chance) with ``low`` and ``high``, ``top1`` (share of tokens with the same
        first expert; chance 1 / E), ``tokens``, ``documents``.

    Raises:
        AnalysisError: The traces are of different tokens or routers, or all experts are always chosen.
    """
    k, experts = first.choice.shape[2], first.num_experts
    if first.documents != second.documents or not np.array_equal(first.tokens, second.tokens):
        raise AnalysisError(
            "the traces are of different tokens",
            where=f"{first.model}, {second.model}",
            hint="trace both checkpoints on the same tasks with the same settings",
        )
    if (first.routers, experts, k) != (second.routers, second.num_experts, second.choice.shape[2]):
        raise AnalysisError("the traces are of different routers", where=f"{first.model}, {second.model}")
    if k >= experts:
        raise AnalysisError("routers that choose all experts always agree")
    same = (first.choice[..., :, None] == second.choice[..., None, :]).any(axis=3).sum(axis=2) / k
    top1 = first.choice[..., 0] == second.choice[..., 0]
    sums = np.dstack([_by_document(first, same), _by_document(first, top1)])
    chance = k / experts
    rows = []
    tokens = _by_document(first, np.ones((1, len(first.tokens))))[0]
    for (layer, projection), own, drawn in _resampled(first, sums, tokens, seed, draws):
        kappa = (own[0] - chance) / (1 - chance)
        low, high = (np.nanquantile(drawn[:, 0], _LEVELS) - chance) / (1 - chance)
        rows.append(
            {
                "layer": layer,
                "projection": projection,
                "observed": own[0],
                "chance": chance,
                "kappa": kappa,
                "low": low,
                "high": high,
                "top1": own[1],
                "top1_chance": 1 / experts,
                "tokens": len(first.tokens),
                "documents": len(set(first.documents)),
            }
        )
    return pd.DataFrame(rows)


def repetition(traces: Traces, *, seed: int = 0, draws: int = 1_000) -> pd.DataFrame:
    """How often a token shares experts with the token before it.

    Neighbors lie within one piece of text: the first generated token has no neighbor, nor has that of an
    option.

    Returns:
        A row per phase, layer, projection and ``metric``: ``any`` = P(S_t ∩ S_{t+1} ≠ ∅) and ``top1`` = P(the
        first experts are equal): ``value`` with ``low`` and ``high`` (bootstrap over documents), ``chance``
        (:func:`repetition_chance`; 1 / E), ``pairs``.

    Raises:
        AnalysisError: No piece of text has two tokens.
    """
    parts = []
    for phase, name in enumerate(PHASES):
        mine = traces.select(traces.phases == phase)
        if (np.diff(mine.offsets) > 1).any():
            parts.append(_repetition(mine, seed, draws).assign(phase=name))
    if not parts:
        raise AnalysisError("no text has two tokens", where=traces.model)
    found = pd.concat(parts, ignore_index=True)
    return found[["phase", *(name for name in found.columns if name != "phase")]]


def _repetition(traces: Traces, seed: int, draws: int) -> pd.DataFrame:
    experts, k = traces.num_experts, traces.choice.shape[2]
    follows = np.ones(len(traces.tokens), dtype=bool)
    follows[traces.offsets[:-1][np.diff(traces.offsets) > 0]] = False  # the first token follows nothing
    before, after = traces.choice[:, :-1], traces.choice[:, 1:]
    shares = np.zeros(traces.choice.shape[:2], dtype=bool)
    shares[:, 1:] = (before[..., :, None] == after[..., None, :]).any(axis=(2, 3))
    equal = np.zeros_like(shares)
    equal[:, 1:] = before[..., 0] == after[..., 0]
    sums = np.dstack([_by_document(traces, shares & follows), _by_document(traces, equal & follows)])
    pairs = _by_document(traces, follows[None])[0]
    chances = {"any": repetition_chance(experts, k), "top1": 1 / experts}
    rows = []
    for (layer, projection), own, drawn in _resampled(traces, sums, pairs, seed, draws):
        for i, (metric, chance) in enumerate(chances.items()):
            low, high = np.nanquantile(drawn[:, i], _LEVELS)
            rows.append(
                {
                    "layer": layer,
                    "projection": projection,
                    "metric": metric,
                    "value": own[i],
                    "low": low,
                    "high": high,
                    "chance": chance,
                    "pairs": int(pairs.sum()),
                }
            )
    return pd.DataFrame(rows)


def repetition_chance(experts: int, top_k: int) -> float:
    """1 - C(E - k, k) / C(E, k): that two random sets of k of E experts have one in common."""
    return 1 - comb(experts - top_k, top_k) / comb(experts, top_k)


def _by_document(traces: Traces, values: Any) -> Floats:
    """Sums over the tokens of each document: ``[M, T]`` to ``[M, documents]``, whatever its pieces."""
    total = np.zeros((len(values), len(traces.tokens) + 1))
    np.cumsum(values, axis=1, out=total[:, 1:])
    number = {label: place for place, label in enumerate(dict.fromkeys(traces.documents))}
    found = np.zeros((len(values), len(number)))
    owner = np.array([number[label] for label in traces.documents], np.intp)
    np.add.at(found.T, owner, np.diff(total[:, traces.offsets], axis=1).T)
    return found


def _resampled(traces: Traces, sums: Floats, sizes: Any, seed: int, draws: int) -> Any:
    """For each router the means over all tokens, ``[m]``, and over resampled documents, ``[draws, m]``."""
    routers, _, width = sums.shape
    flat = np.column_stack([np.moveaxis(sums, 1, 0).reshape(len(sizes), -1), sizes]).astype(np.float64)
    totals = np.vstack([flat.sum(axis=0), *bootstrap_totals(flat, seed=seed, draws=draws)])
    with np.errstate(invalid="ignore"):
        means = (totals[:, :-1] / totals[:, -1:]).reshape(len(totals), routers, width)
    for i, router in enumerate(traces.routers):
        yield router, means[0, i], means[1:, i]
