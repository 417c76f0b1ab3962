"""Confidence intervals of scores.

No interval here takes a normal approximation of a few documents: binary scores have Wilson's interval,
other means Student's, corpus metrics the bootstrap (see Bowyer, Aitchison & Ivanova 2025, "Position: Don't
use the CLT in LLM evals with fewer than a few hundred datapoints", for why).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from medbench.errors import StatisticsError
from medbench.statistics.resampling import DRAWS, bootstrap_values
from medbench.statistics.sufficient import Floats, cluster_codes, sufficient

__all__ = ["Interval", "interval", "mean_interval", "percentile_interval", "wilson_interval"]


class Interval(NamedTuple):
    """A score with its confidence interval.

    Attributes:
        value: The score itself.
        low: Lower limit; NaN where no interval can be given (a single document).
        high: Upper limit.
        method: How the limits were found: ``wilson``, ``wilson-clustered``, ``t``, ``t-clustered``,
            ``bootstrap``, ``bootstrap-clustered``, ``wilson-documents`` or ``none``.
        n: Documents behind the score.
    """

    value: float
    low: float
    high: float
    method: str
    n: int


def interval(
    data: Any,
    aggregation: str = "mean",
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    draws: int = DRAWS,
    method: Literal["auto", "bootstrap"] = "auto",
) -> Interval:
    """The score of per-document results with the interval that suits it.

    Args:
        data: ``[n]`` numbers for ``mean``, ``[n, 3]`` (tp, fp, fn) for ``micro_f1``, ``micro_precision``,
            ``micro_recall``, ``[n, 2]`` (gold, predicted) for ``macro_*`` and ``weighted_*`` scores.
        aggregation: How documents make a score.
        clusters: ``[n]`` keys of documents that belong together (a patient case, a paper); documents are
            taken as independent when every key is unique or none is given.
        seed: Seed of the bootstrap.
        confidence: Coverage aimed at.
        draws: Bootstrap draws.
        method: ``bootstrap`` also resamples means, such as that of ROUGE.

    Raises:
        StatisticsError: The data do not fit the aggregation.
    """
    _check_confidence(confidence)
    score = sufficient(data, aggregation)
    n = score.rows.shape[0]
    codes = cluster_codes(clusters, n)
    if aggregation == "mean" and method == "auto":
        values = score.rows[:, 0]
        if np.isin(values, (0.0, 1.0)).all():
            return _proportion(values, codes, confidence)
        return mean_interval(values, codes, confidence=confidence)

    units = score if codes is None else score.by_cluster(codes)
    sampled = bootstrap_values(units, seed=seed, draws=draws)
    value, count = score.value, units.rows.shape[0]
    if np.ptp(sampled) == 0 and value in (0.0, 1.0):
        # Every draw of a flawless (or hopeless) sample is that sample; Wilson says what n of them allow.
        low, high = wilson_interval(value * count, count, confidence)
        return Interval(value, low, high, "wilson-documents", n)
    low, high = percentile_interval(sampled, count, confidence)
    return Interval(value, low, high, "bootstrap" if codes is None else "bootstrap-clustered", n)


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927; Agresti & Coull 1998).

    Args:
        successes: Successes; need not be whole when ``n`` is an effective sample size.
        n: Trials.
        confidence: Coverage aimed at.
    """
    return _wilson(successes / n, n, float(special.ndtri(0.5 + confidence / 2)))


def mean_interval(
    values: Any, clusters: Sequence[Any] | NDArray[Any] | None = None, *, confidence: float = 0.95
) -> Interval:
    """Student's interval of a mean, with cluster-robust errors where documents come in clusters.

    The clustered standard error is Miller's (2024, "Adding error bars to evals", eq. 4) with the
    finite-cluster correction G / (G - 1) and G - 1 degrees of freedom.
    """
    array = np.asarray(values, dtype=np.float64)
    codes = cluster_codes(clusters, len(array))
    value = float(array.mean())
    error, freedom = standard_error(array, codes)
    if freedom < 1:
        return Interval(value, math.nan, math.nan, "none", len(array))
    reach = error * float(special.stdtrit(freedom, 0.5 + confidence / 2))
    return Interval(value, value - reach, value + reach, "t" if codes is None else "t-clustered", len(array))


def standard_error(values: Floats, codes: NDArray[np.intp] | None = None) -> tuple[float, int]:
    """Standard error of a mean and its degrees of freedom (NaN and 0 for a single unit).

    Args:
        values: ``[n]`` results.
        codes: ``[n]`` cluster codes, or ``None`` for independent documents.
    """
    deviations = values - values.mean()
    sums = deviations if codes is None else np.bincount(codes, weights=deviations)
    units = len(sums)
    if units < 2:
        return math.nan, 0
    return math.sqrt(float(sums @ sums) * units / (units - 1)) / len(values), units - 1


def percentile_interval(sampled: Floats, units: int, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap draws, widened for small samples.

    The bootstrap of ``units`` units is too narrow by sqrt((units - 1) / units) and ignores that the spread
    is estimated; the expanded percentiles of Hesterberg (2015, "What teachers should know about the
    bootstrap", sec. 5) make up for both.
    """
    if units < 2:
        return math.nan, math.nan
    reach = math.sqrt(units / (units - 1)) * float(special.stdtrit(units - 1, 0.5 - confidence / 2))
    tail = float(special.ndtr(reach))
    low, high = np.quantile(sampled, [tail, 1 - tail])
    return float(low), float(high)


def _proportion(values: Floats, codes: NDArray[np.intp] | None, confidence: float) -> Interval:
    n, value = len(values), float(values.mean())
    if codes is None:
        return Interval(value, *wilson_interval(float(values.sum()), n, confidence), "wilson", n)
    # Wilson at the effective sample size n / deff, with Student's quantile for the number of clusters
    # (Korn & Graubard 1998; Dean & Pagano 2015). No variance, no deff: each cluster then counts once.
    groups = int(codes.max()) + 1
    if groups < 2:
        return Interval(value, math.nan, math.nan, "none", n)
    error, freedom = standard_error(values, codes)
    binomial = value * (1 - value) / n
    effective = n / max(1.0, error**2 / binomial) if binomial > 0 else float(groups)
    quantile = float(special.stdtrit(freedom, 0.5 + confidence / 2))
    return Interval(value, *_wilson(value, effective, quantile), "wilson-clustered", n)


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At p = 0 and p = 1 one limit is p itself; rounding must not put it on the wrong side.
    return (0.0 if p == 0 else max(0.0, centre - reach)), (1.0 if p == 1 else min(1.0, centre + reach))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise StatisticsError(f"a confidence of {confidence} is not between 0 and 1", hint="0.95 is usual")
