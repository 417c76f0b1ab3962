"""Ranks with confidence intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medbench.statistics.corpus import Floats


class RankInterval(NamedTuple):
    """Rank of a system, 1 being best.

    Attributes:
        rank: Rank by the observed scores; equal scores share the better rank.
        low: Best rank of the interval.
        high: Worst rank of the interval.
    """

    rank: int
    low: int
    high: int


def rank_intervals(scores: Floats, draws: Floats, *, confidence: float = 0.95) -> list[RankInterval]:
    """Confidence intervals of ranks from bootstrap draws of all systems' scores.

    For each system, its differences to all others get simultaneous intervals by the bootstrap of the
    largest studentized deviation; systems that are then surely better bound its rank from above, those
    surely worse from below (Mogstad, Romano, Shaikh & Wilhelm 2024, "Inference for ranks", marginal
    intervals). Percentiles of resampled ranks, the usual shortcut, are too narrow where systems nearly tie.

    Args:
        scores: ``[systems]``, higher is better.
        draws: ``[draws, systems]``, of the same resampled documents wherever systems share documents.
        confidence: Coverage of each system's interval.
    """
    systems = len(scores)
    found = []
    for j in range(systems):
        others = np.array([k for k in range(systems) if k != j], dtype=np.intp)
        rank = 1 + int((scores > scores[j]).sum())
        if not len(others):
            found.append(RankInterval(rank, 1, 1))
            continue
        better, worse = _separated(scores[others] - scores[j], draws[:, others] - draws[:, [j]], confidence)
        found.append(RankInterval(rank, 1 + int(better.sum()), systems - int(worse.sum())))
    return found


def _separated(
    differences: Floats, draws: Floats, confidence: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    errors = draws.std(axis=0, ddof=1)
    # Differences without spread (identical answers, or two perfect systems) are known exactly.
    spread = errors > 0
    reach = np.zeros_like(errors)
    if spread.any():
        deviations = np.abs(draws[:, spread] - differences[spread]) / errors[spread]
        reach[spread] = np.quantile(deviations.max(axis=1), confidence) * errors[spread]
    return differences - reach > 0, differences + reach < 0
