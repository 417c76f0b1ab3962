"""Statistics from their definitions, as slowly as it takes. Nothing of the package is used here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist, mean
from typing import Any

import numpy as np
from scipy import stats

from tests.truth.ledger import UNKNOWN, Truth, exactly

Z = NormalDist().inv_cdf(0.975)
POWER = Z + NormalDist().inv_cdf(0.8)
DRAWS = 8_000  # of our own
_SURE = 5.0  # standard errors that chance may put between two simulations


def corpus(values: Sequence[Any], aggregation: str, weights: Any = None) -> Any:
    """The score of documents, each counted as often as its weight says.

    Args:
        values: A number, (tp, fp, fn) or (gold, predicted) for each document.
        aggregation: How they make the score.
        weights: ``[draws, documents]``; one draw with every document once by default.
    """
    w = np.ones((1, len(values))) if weights is None else np.asarray(weights, dtype=float)
    if aggregation == "mean":
        found = (w @ np.array(values, dtype=float)) / w.sum(axis=1)
    elif aggregation.startswith("micro"):
        tp, fp, fn = (w @ np.array([value[i] for value in values], dtype=float) for i in range(3))
        below = {"micro_f1": tp + (fp + fn) / 2, "micro_precision": tp + fp, "micro_recall": tp + fn}
        found = _ratio(tp, below[aggregation])
    else:
        found = _by_label(values, aggregation, w)
    return found[0] if weights is None else found


def _by_label(values: Sequence[Any], aggregation: str, w: Any) -> Any:
    average, _, score = aggregation.partition("_")
    total, share = np.zeros(len(w)), np.zeros(len(w))
    for label in sorted({label for pair in values for label in pair}):
        hits, gold, said = (
            w @ np.array(which, dtype=float)
            for which in zip(*[(g == p == label, g == label, p == label) for g, p in values], strict=True)
        )
        each = {"f1": _ratio(hits, (gold + said) / 2), "precision": _ratio(hits, said)}.get(
            score, _ratio(hits, gold)
        )
        weight = gold if average == "weighted" else ((gold + said) > 0).astype(float)
        total, share = total + weight * each, share + weight
    return _ratio(total, share)


def _ratio(above: Any, below: Any) -> Any:
    return np.where(below > 0, above / np.where(below > 0, below, 1), 0.0)


def document_score(value: Any, aggregation: str) -> float:
    """How right one document is by itself."""
    if aggregation == "mean":
        return float(value)
    if aggregation.startswith("micro"):
        tp, fp, fn = value
        return 1.0 if fp + fn == 0 else 2 * tp / (2 * tp + fp + fn)
    return float(value[0] == value[1])


def wilson(share: float, n: float, quantile: float = Z) -> tuple[Truth, Truth]:
    """Both solutions p of |share - p| = quantile * sqrt(p (1 - p) / n)."""
    a, b, c = 1 + quantile**2 / n, -(2 * share + quantile**2 / n), share**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return exactly(max(0.0, (-b - root) / (2 * a))), exactly(min(1.0, (-b + root) / (2 * a)))


def clusters_of(clusters: Sequence[str]) -> list[list[int]] | None:
    """Places of the documents of each cluster; ``None`` where every document stands alone."""
    found: dict[str, list[int]] = {}
    for place, cluster in enumerate(clusters):
        found.setdefault(cluster, []).append(place)
    return None if len(found) == len(clusters) else list(found.values())


def error_of_mean(values: Sequence[float], groups: list[list[int]] | None) -> tuple[float, int]:
    """Standard error of a mean, and its degrees of freedom."""
    middle, units = mean(values), groups or [[i] for i in range(len(values))]
    if len(units) < 2:
        return math.nan, 0
    squares = sum(sum(values[i] - middle for i in unit) ** 2 for unit in units)
    return math.sqrt(squares * len(units) / (len(units) - 1)) / len(values), len(units) - 1


def interval(
    values: Sequence[Any], aggregation: str, clusters: Sequence[str], *, resampled: bool, draws: int = 10_000
) -> tuple[Truth, Truth, str]:
    """Limits of a score at 95 %, and the name of their method.

    Args:
        values: Results of the documents.
        aggregation: How they make the score.
        clusters: Which of them belong together.
        resampled: Whether a mean is resampled too.
        draws: Draws behind the limits that are to be checked.
    """
    groups = clusters_of(clusters)
    n, units = len(values), len(groups) if groups else len(values)
    score = float(corpus(values, aggregation))
    if aggregation == "mean" and not resampled:
        error, freedom = error_of_mean(values, groups)
        if all(value in (0.0, 1.0) for value in values):
            if groups is None:
                return *wilson(score, n), "wilson"
            if units < 2:
                return UNKNOWN, UNKNOWN, "none"
            spread = score * (1 - score) / n
            effective = n / max(1.0, error**2 / spread) if spread else units
            return *wilson(score, effective, stats.t.ppf(0.975, freedom)), "wilson-clustered"
        if freedom < 1:
            return UNKNOWN, UNKNOWN, "none"
        if error < 1e-12:
            return agreeing(score, units, (0.0, 1.0) if all(0 <= value <= 1 for value in values) else None)
        reach = error * stats.t.ppf(0.975, freedom)
        return exactly(score - reach), exactly(score + reach), "t" if groups is None else "t-clustered"
    sampled = corpus(values, aggregation, weights(n, groups))
    low, high = expanded(sampled, units, draws)
    if units < 2 or np.ptp(sampled) < 1e-12:
        if score in (0.0, 1.0):
            return *wilson(score, units), "wilson-documents"
        return agreeing(score, units, (0.0, 1.0))
    return low, high, "bootstrap" if groups is None else "bootstrap-clustered"


def agreeing(score: float, units: int, span: tuple[float, float] | None) -> tuple[Truth, Truth, str]:
    """Limits where all documents agree: so many may differ that nobody would have seen one of them."""
    if span is None or units < 2:
        return UNKNOWN, UNKNOWN, "none"
    unseen = 1 - 0.025 ** (1 / units)
    low, high = (score + unseen * (end - score) for end in span)
    return exactly(low), exactly(high), "rule-of-three"


def weights(n: int, groups: list[list[int]] | None = None, *, draws: int = DRAWS, seed: int = 20) -> Any:
    """How often each document is drawn when documents, or whole clusters, are drawn with replacement."""
    units = groups or [[i] for i in range(n)]
    drawn = np.random.default_rng(seed).multinomial(len(units), [1 / len(units)] * len(units), draws)
    found = np.zeros((draws, n))
    for unit, times in zip(units, drawn.T, strict=True):
        found[:, unit] = times[:, None]
    return found


def quantile(sampled: Any, level: float, draws: int) -> Truth:
    """Where a quantile of other draws of the same numbers may lie."""
    slack = _SURE * math.sqrt(level * (1 - level) * (1 / len(sampled) + 1 / draws))
    ends = [max(0.0, level - slack), min(1.0, level + slack)]
    return Truth(
        float(np.quantile(sampled, ends[0], method="lower")),
        float(np.quantile(sampled, ends[1], method="higher")),
    )


def percentiles(sampled: Any, draws: int) -> tuple[Truth, Truth]:
    """The middle 95 % of the draws."""
    return quantile(sampled, 0.025, draws), quantile(sampled, 0.975, draws)


def expanded(sampled: Any, units: int, draws: int) -> tuple[Truth, Truth]:
    """Percentiles of a bootstrap, moved outwards because few units vary too little."""
    if units < 2:
        return UNKNOWN, UNKNOWN
    tail = NormalDist().cdf(math.sqrt(units / (units - 1)) * float(stats.t.ppf(0.025, units - 1)))
    return quantile(sampled, tail, draws), quantile(sampled, 1 - tail, draws)


def mcnemar(wins: int, losses: int) -> float:
    """Probability that a fair coin is at least as lopsided."""
    n = wins + losses
    tail = sum(math.comb(n, i) for i in range(min(wins, losses) + 1)) / 2**n
    return float(min(1.0, 2 * tail))


def bonett_price(wins: int, losses: int, n: int) -> tuple[float, float]:
    """Center of the interval of a difference of shares, and its standard error."""
    up, down = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    return up - down, math.sqrt((up + down - (up - down) ** 2) / (n + 2))


def swapped(
    mine: Sequence[Any], theirs: Sequence[Any], aggregation: str, groups: list[list[int]] | None, draws: int
) -> Truth:
    """The p value of a difference when answers, or whole clusters of them, are dealt out anew."""
    n = len(mine)
    units = groups or [[i] for i in range(n)]
    units = [unit for unit in units if any(mine[i] != theirs[i] for i in unit)]
    if not units:
        return exactly(1.0)
    every = len(units) <= 12
    if every:
        flips = np.array(list(itertools.product((0, 1), repeat=len(units))), dtype=float).reshape(
            -1, len(units)
        )
    else:
        flips = np.random.default_rng(21).integers(0, 2, (2 * DRAWS, len(units))).astype(float)
    # Two copies of every document: those of the first side now, and what is then left for the second.
    side = np.hstack([np.ones((len(flips), n)), np.zeros((len(flips), n))])
    for flip, unit in zip(flips.T, units, strict=True):
        for i in unit:
            side[:, i], side[:, n + i] = 1 - flip, flip
    both = [*mine, *theirs]
    change = corpus(both, aggregation, side) - corpus(both, aggregation, 1 - side)
    seen = abs(corpus(mine, aggregation) - corpus(theirs, aggregation)) - 1e-12
    return chance(float((np.abs(change) >= seen).mean()), math.inf if every else len(flips), draws)


def chance(p: float, mine: float, draws: int) -> Truth:
    """Where a p value may lie that other draws estimate, its own arrangement counted as one of them."""
    slack = _SURE * math.sqrt(p * (1 - p) * (1 / mine + 1 / draws)) + 2 / draws
    return Truth(max(0.0, p - slack), min(1.0, p + slack))


def holm(values: Sequence[Truth]) -> list[Truth]:
    """Adjusted p values: the smallest times their number, the next times one less, never decreasing."""

    def adjust(p: list[float]) -> list[float]:
        found, worst = [0.0] * len(p), 0.0
        for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            worst = max(worst, min(1.0, p[place] * (len(p) - rank)))
            found[place] = worst
        return found

    ends = [adjust([value[end] for value in values]) for end in (0, 1)]
    return [Truth(*pair) for pair in zip(*ends, strict=True)]


def mover(
    shares: Sequence[float], values: Sequence[float], lows: Sequence[Truth], highs: Sequence[Truth]
) -> tuple[float, Truth, Truth]:
    """A weighted mean of independent scores, and limits whose distances add in squares."""
    middle = sum(share * value for share, value in zip(shares, values, strict=True))
    if not all(limit.known for limit in (*lows, *highs)):
        return middle, UNKNOWN, UNKNOWN

    def reach(limits: Sequence[Truth], end: int) -> float:
        parts = zip(shares, values, limits, strict=True)
        return math.sqrt(sum((share * (value - limit[end])) ** 2 for share, value, limit in parts))

    below, above = (sorted(reach(limits, end) for end in (0, 1)) for limits in (lows, highs))
    return middle, Truth(middle - below[1], middle - below[0]), Truth(middle + above[0], middle + above[1])
