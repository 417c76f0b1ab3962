"""Intervals of scores by arbitrary functions of the documents, from resampled documents."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.errors import StatisticsError
from medbench.statistics.intervals import Interval, alike, percentile_interval
from medbench.statistics.sufficient import cluster_codes

# Calls of the function: enough for limits, and bounded where each call goes through many documents.
_CALLS = 1_000
_FEWEST_CALLS = 200
_DOCUMENTS_READ = 500_000
_REFUSALS = 0.05  # share of resamples that may fail
_PATIENCE = 60.0  # seconds after which a function is too slow to be resampled


def resampled_interval(
    items: Sequence[Any],
    score: Callable[[list[Any]], Any],
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    *,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The score of a function of documents, with a bootstrap interval.

    The function is called some hundred times, fewer the more documents there are. Resamples that it refuses,
    or gives no finite number, are left out as long as they are rare.

    Args:
        items: ``[n]`` values, as the function expects them.
        score: Maps a list of values to the score.
        clusters: ``[n]`` keys of documents that belong together.
        seed: Seed of the bootstrap.
        confidence: Nominal coverage, between 0 and 1.

    Raises:
        StatisticsError: No interval can be given; says why.
    """
    n = len(items)
    codes = cluster_codes(clusters, n)
    groups = [[i] for i in range(n)] if codes is None else _members(codes)
    value = float(score(list(items)))
    if len(groups) < 2:
        raise StatisticsError("a single document says nothing about others")
    calls = max(_FEWEST_CALLS, min(_CALLS, _DOCUMENTS_READ // n))
    rng = np.random.default_rng(seed)
    begun, refused = time.monotonic(), ""
    sampled: list[float] = []
    for made in range(1, calls + 1):
        chosen = rng.integers(0, len(groups), size=len(groups))
        try:
            drawn = float(score([items[i] for group in chosen for i in groups[group]]))
        except Exception as error:  # noqa: BLE001 - a foreign function may raise anything
            drawn, refused = math.nan, f": {type(error).__name__}: {error}"
        if math.isfinite(drawn):
            sampled.append(drawn)
        if made - len(sampled) > calls * _REFUSALS:
            raise StatisticsError(f"the aggregation fails on resampled documents{refused}")
        if time.monotonic() - begun > _PATIENCE:
            raise StatisticsError("the aggregation takes too long to be resampled")
    low, high = percentile_interval(np.array(sampled), len(groups), confidence)
    if alike(low, high):
        raise StatisticsError("the aggregation gives every resample the same score")
    return Interval(value, low, high, "bootstrap" if codes is None else "bootstrap-clustered", n)


def _members(codes: NDArray[np.intp]) -> list[list[int]]:
    members: list[list[int]] = [[] for _ in range(int(codes.max()) + 1)]
    for index, code in enumerate(codes):
        members[code].append(index)
    return members
