"""Two systems on the same documents: difference, interval and test, document by document.

Pairing removes the difficulty of the documents from the comparison (Miller 2024, "Adding error bars to
evals", sec. 4); two separate intervals that overlap say nothing about it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from medbench.errors import StatisticsError
from medbench.statistics.corpus import CORPUS_AGGREGATIONS, Floats
from medbench.statistics.intervals import (
    agreeing_interval,
    alike,
    mean_interval,
    percentile_interval,
    shares_span,
    standard_error,
)
from medbench.statistics.resampling import DRAWS, bootstrap_totals, swap_totals
from medbench.statistics.sufficient import (
    BOUNDED_AGGREGATIONS,
    LABEL_AGGREGATIONS,
    Sufficient,
    cluster_codes,
    sufficient,
)


class Paired(NamedTuple):
    """A paired difference, first system minus second.

    Attributes:
        difference: First score minus second score.
        low: Lower limit of the difference.
        high: Upper limit.
        interval: Method of the interval: ``bonett-price``, ``t``, ``t-clustered``, ``bootstrap``,
            ``bootstrap-clustered``, ``rule-of-three`` or ``none``.
        p_value: Two-sided.
        test: ``mcnemar-exact`` or ``randomisation``.
        standard_error: Of the difference, never 0: where no document shows a spread, the one that its limits
            allow; NaN where nothing is known.
        wins: Documents on which the first system scored higher; for binary scores, those it alone got right.
        losses: Documents on which it scored lower.
        n: Documents compared.
    """

    difference: float
    low: float
    high: float
    interval: str
    p_value: float
    test: str
    standard_error: float
    wins: int
    losses: int
    n: int


def paired(
    first: Any,
    second: Any,
    aggregation: str = "mean",
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    draws: int = DRAWS,
) -> Paired:
    """Compare two systems on the same documents.

    The interval and the test are two methods. Where the test, mostly the more careful one, does not reject a
    difference of 0 at the level of the interval, the interval is extended to hold it.

    Args:
        first: Per-document results as :func:`medbench.statistics.interval` takes them.
        second: Results of the other system, in the same order of documents.
        aggregation: How documents are aggregated.
        clusters: ``[n]`` keys of documents that belong together. Whole clusters are then resampled and
            swapped, and binary scores lose McNemar's test, which needs independent documents.
        seed: Seed of bootstrap and randomization.
        confidence: Nominal coverage.
        draws: Draws of bootstrap and randomization.

    Raises:
        StatisticsError: The systems have different numbers of documents, or data that do not fit.
    """
    labels = _shared_labels(first, second) if aggregation in LABEL_AGGREGATIONS else None
    one, two = (sufficient(data, aggregation, labels) for data in (first, second))
    n = one.rows.shape[0]
    if two.rows.shape[0] != n:
        raise StatisticsError(
            f"paired systems need the same documents; got {n} and {two.rows.shape[0]}",
            hint="compare the documents that both systems answered",
        )
    codes = cluster_codes(clusters, n)
    difference = one.value - two.value
    wins, losses = _flips(first, second, aggregation)
    if aggregation == "mean":
        mine, theirs = one.rows[:, 0], two.rows[:, 0]
        if codes is None and np.isin(mine, (0, 1)).all() and np.isin(theirs, (0, 1)).all():
            _, error = _bonett_price(wins, losses, n)
            p = mcnemar_exact(wins, losses)
            low, high = _as_tested(*bonett_price_interval(wins, losses, n, confidence), p, confidence)
            return Paired(difference, low, high, "bonett-price", p, "mcnemar-exact", error, wins, losses, n)
        shares = shares_span(mine) is not None and shares_span(theirs) is not None
        change = mine - theirs
        found = mean_interval(change, codes, confidence=confidence, span=_DIFFERENCES if shares else None)
        low, high, method = found.low, found.high, found.method
        error, _ = standard_error(change, codes)
    else:
        span = _DIFFERENCES if aggregation in BOUNDED_AGGREGATIONS else None
        low, high, method, error = _bootstrap_difference(one, two, codes, span, seed, confidence, draws)
    if method == "rule-of-three":
        # The error that has these limits: documents that all agree show none of their own.
        error = max(high - difference, difference - low) / float(special.ndtri(0.5 + confidence / 2))
    elif method == "none":
        error = math.nan
    p = randomisation_test(one, two, codes, seed=seed, draws=draws)
    low, high = _as_tested(low, high, p, confidence)
    return Paired(difference, low, high, method, p, "randomisation", error, wins, losses, n)


def _as_tested(low: float, high: float, p: float, confidence: float) -> tuple[float, float]:
    """Limits extended to 0 where the test does not reject a difference of 0."""
    return (min(low, 0.0), max(high, 0.0)) if p > 1 - confidence else (low, high)


# Range of the difference of two shares.
_DIFFERENCES = (-1.0, 1.0)


def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided exact McNemar test (McNemar 1947): of the discordant documents, half should go each way.

    Args:
        wins: Documents right in the first system only.
        losses: Documents right in the second system only.
    """
    n = wins + losses
    if n == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(wins, losses), n, 0.5)))


def bonett_price_interval(wins: int, losses: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Adjusted Wald interval of a paired difference of proportions (Bonett & Price 2012).

    One document is added to each of the two discordant cells, which keeps the coverage where few differ.
    """
    center, error = _bonett_price(wins, losses, n)
    reach = error * float(special.ndtri(0.5 + confidence / 2))
    return max(-1.0, center - reach), min(1.0, center + reach)


def _bonett_price(wins: int, losses: int, n: int) -> tuple[float, float]:
    """Center of the interval, and its standard error."""
    up, down = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    return up - down, math.sqrt((up + down - (up - down) ** 2) / (n + 2))


def randomisation_test(
    one: Sufficient,
    two: Sufficient,
    codes: NDArray[np.intp] | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> float:
    """Two-sided p of the difference when answers (or clusters of them) are swapped at random.

    The observed arrangement counts as one draw (Phipson & Smyth 2010), so that p is never 0.
    """
    if codes is not None:
        one, two = one.by_cluster(codes), two.by_cluster(codes)
    total = one.rows.sum(axis=0) + two.rows.sum(axis=0)
    # Rounding errors of the sums must not decide whether an equal arrangement counts as extreme.
    observed = abs(one.value - two.value) - 1e-12
    extreme = 0
    for totals in swap_totals(one.rows, two.rows, seed=seed, draws=draws):
        extreme += int((np.abs(one.finish(totals) - one.finish(total - totals)) >= observed).sum())
    return (extreme + 1) / (draws + 1)


def _bootstrap_difference(
    one: Sufficient,
    two: Sufficient,
    codes: NDArray[np.intp] | None,
    span: tuple[float, float] | None,
    seed: int,
    confidence: float,
    draws: int,
) -> tuple[float, float, str, float]:
    """Limits of the difference (within ``span``, if it has any), their method and the standard error."""
    method = "bootstrap" if codes is None else "bootstrap-clustered"
    if codes is not None:
        one, two = one.by_cluster(codes), two.by_cluster(codes)
    units = one.rows.shape[0]
    sampled = paired_draws([one, two], seed=seed, draws=draws)
    change = sampled[:, 0] - sampled[:, 1]
    low, high = percentile_interval(change, units, confidence)
    if math.isnan(low) or alike(low, high):
        low, high, method = agreeing_interval(one.value - two.value, units, span, confidence)
    return low, high, method, float(change.std(ddof=1))


def paired_draws(scores: Sequence[Sufficient], *, seed: int = 0, draws: int = DRAWS) -> Floats:
    """Bootstrap several systems by the same draws of documents.

    Returns:
        ``[draws, systems]`` scores.
    """
    widths = np.cumsum([0, *(score.rows.shape[1] for score in scores)])
    parts = [score.rows for score in scores]
    if any(sparse.issparse(part) for part in parts):
        rows: Any = sparse.hstack(parts).tocsr()
    else:
        rows = np.hstack(parts)
    blocks = [
        np.column_stack(
            [
                score.finish(totals[:, start:stop])
                for score, start, stop in zip(scores, widths[:-1], widths[1:], strict=True)
            ]
        )
        for totals in bootstrap_totals(rows, seed=seed, draws=draws)
    ]
    return np.concatenate(blocks)


def _shared_labels(first: Any, second: Any) -> list[str]:
    both = [np.asarray(data, dtype=object) for data in (first, second)]
    if both[0].shape == both[1].shape and not (both[0][:, 0] == both[1][:, 0]).all():
        raise StatisticsError("paired systems were given different gold labels for the same document")
    return list(dict.fromkeys(name for data in both for name in data.ravel().tolist()))


def _flips(first: Any, second: Any, aggregation: str) -> tuple[int, int]:
    one, two = (document_scores(data, aggregation) for data in (first, second))
    return int((one > two).sum()), int((one < two).sum())


def document_scores(data: Any, aggregation: str) -> Floats:
    """Score of each document by itself: from 0 to 1 for labels and counts, else on the metric's scale.

    Args:
        data: Per-document results as :func:`medbench.statistics.interval` takes them.
        aggregation: How documents are aggregated. Labels are right or wrong; counts give the document's F1;
            lm-eval's corpus scores are taken of the document alone.

    Returns:
        ``[n]`` scores.
    """
    if aggregation == "mean":
        return np.asarray(data, dtype=np.float64)
    if aggregation in LABEL_AGGREGATIONS:
        pairs = np.asarray(data, dtype=object)
        return np.asarray(pairs[:, 0] == pairs[:, 1], dtype=np.float64)
    if aggregation in CORPUS_AGGREGATIONS:
        score = sufficient(data, aggregation)
        return score.finish(score.rows)
    counts = np.asarray(data, dtype=np.float64)
    # A document with nothing to find, where nothing was found, is correct.
    wrong = counts[:, 1] + counts[:, 2]
    return np.where(wrong == 0, 1.0, 2 * counts[:, 0] / np.maximum(2 * counts[:, 0] + wrong, 1))


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> Floats:
    """Adjust p-values by Holm's step-down procedure (Holm 1979), which controls the family-wise error rate.

    Args:
        p_values: ``[m]`` p-values; NaN stands for a test that could not be made, and is not counted.

    Returns:
        ``[m]`` adjusted p-values in the same order.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else p[order]
    return adjusted
