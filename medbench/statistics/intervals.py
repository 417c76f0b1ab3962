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
from medbench.statistics.corpus import Floats
from medbench.statistics.resampling import DRAWS, bootstrap_values
from medbench.statistics.sufficient import (
    BOUNDED_AGGREGATIONS,
    Sufficient,
    cluster_codes,
    sufficient,
)

# Smaller spreads are rounding errors of equal numbers.
_ROUNDING = 1e-12
# Of a document's own number; Brier's is the sum of its squared errors, between 0 and 2.
_MEANS = ("mean", "nanmean", "brier_score")


class Interval(NamedTuple):
    """A score with its confidence interval.

    Attributes:
        value: The score itself.
        low: Lower limit; NaN where no interval can be given (a single document).
        high: Upper limit.
        method: How the limits were found: ``wilson``, ``wilson-clustered``, ``t``, ``t-clustered``,
            ``bootstrap``, ``bootstrap-clustered``, ``wilson-documents``, ``rule-of-three`` or ``none``.
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
    """The score of per-document results, with an interval of the appropriate kind.

    Args:
        data: ``[n]`` numbers for ``mean``, ``[n, 3]`` (tp, fp, fn) for ``micro_f1``, ``micro_precision``,
            ``micro_recall``, ``[n, 2]`` (gold, predicted) for ``macro_*`` and ``weighted_*`` scores.
        aggregation: How documents are aggregated; also lm-eval's own
            (:func:`medbench.statistics.corpus.corpus_rows` says what these take).
        clusters: ``[n]`` keys of documents that belong together (a patient case, a paper); documents are
            taken as independent when every key is unique or none is given.
        seed: Seed of the bootstrap.
        confidence: Nominal coverage.
        draws: Bootstrap draws.
        method: ``bootstrap`` also resamples means, such as that of ROUGE.

    Raises:
        StatisticsError: The data do not fit the aggregation.
    """
    _check_confidence(confidence)
    score = sufficient(data, aggregation)
    n = score.rows.shape[0]
    codes = cluster_codes(clusters, n)
    if aggregation in _MEANS and method == "auto":
        return _mean(score, codes, aggregation, confidence)
    units = score if codes is None else score.by_cluster(codes)
    sampled = bootstrap_values(units, seed=seed, draws=draws)
    value, count = score.value, units.rows.shape[0]
    low, high = percentile_interval(sampled, count, confidence)
    if math.isfinite(low) and math.isfinite(high) and not alike(low, high):
        return Interval(value, low, high, "bootstrap" if codes is None else "bootstrap-clustered", n)
    # Where all documents agree, every resample equals the sample, and its spread says nothing.
    span = (0.0, 1.0) if aggregation in BOUNDED_AGGREGATIONS else None
    if aggregation == "mean":  # of anything
        span = shares_span(score.rows[:, 0])
    if span is not None and value in span:
        return Interval(value, *wilson_interval(value * count, count, confidence), "wilson-documents", n)
    return Interval(value, *agreeing_interval(value, count, span, confidence), n)


def _mean(score: Sufficient, codes: NDArray[np.intp] | None, aggregation: str, confidence: float) -> Interval:
    """The interval of a mean over the documents that count."""
    counted = score.rows[:, 1] > 0
    values = score.rows[counted, 0]
    n = len(values)
    if not n:
        return Interval(math.nan, math.nan, math.nan, "none", n)
    codes = None if codes is None else cluster_codes(codes[counted].tolist(), n)
    if aggregation == "brier_score":
        return mean_interval(values, codes, confidence=confidence, span=(0.0, 2.0))
    if np.isin(values, (0.0, 1.0)).all():
        return _proportion(values, codes, confidence)
    return mean_interval(values, codes, confidence=confidence, span=shares_span(values))


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927; Agresti & Coull 1998).

    Args:
        successes: Successes; need not be whole when ``n`` is an effective sample size.
        n: Trials.
        confidence: Nominal coverage.
    """
    return _wilson(successes / n, n, float(special.ndtri(0.5 + confidence / 2)))


def mean_interval(
    values: Any,
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    *,
    confidence: float = 0.95,
    span: tuple[float, float] | None = None,
) -> Interval:
    """Student's interval of a mean, with cluster-robust errors where documents come in clusters.

    The clustered standard error is Miller's (2024, "Adding error bars to evals", eq. 4) with the
    finite-cluster correction G / (G - 1) and G - 1 degrees of freedom.

    Args:
        values: ``[n]`` results.
        clusters: ``[n]`` keys of documents that belong together.
        confidence: Nominal coverage.
        span: Lowest and highest value that a document may have, which bounds the mean of documents that all
            agree; without it their mean has no interval.
    """
    array = np.asarray(values, dtype=np.float64)
    codes = cluster_codes(clusters, len(array))
    value = float(array.mean())
    error, freedom = standard_error(array, codes)
    if freedom < 1:
        return Interval(value, math.nan, math.nan, "none", len(array))
    if alike(value, value + error):
        return Interval(value, *agreeing_interval(value, freedom + 1, span, confidence), len(array))
    reach = error * float(special.stdtrit(freedom, 0.5 + confidence / 2))
    return Interval(value, value - reach, value + reach, "t" if codes is None else "t-clustered", len(array))


def agreeing_interval(
    value: float, units: int, span: tuple[float, float] | None, confidence: float = 0.95
) -> tuple[float, float, str]:
    """Limits of a mean where all units have the same value, so that their spread says nothing.

    If a share s of all units had other values, n of them would agree with probability (1 - s)^n at most. The
    exact form of the rule of three (Hanley & Lippman-Hand 1983, "If nothing goes wrong, is everything all
    right?") says how large s may be; what differs may lie at either end of the range.

    Args:
        value: That of every unit.
        units: Documents or clusters, n.
        span: Lowest and highest value that a unit may have; ``None`` if any.
        confidence: Nominal coverage.

    Returns:
        The limits and the name of the method: NaN and ``none`` without a range, or of a single unit.
    """
    if span is None or units < 2:
        return math.nan, math.nan, "none"
    share = 1 - (0.5 - confidence / 2) ** (1 / units)
    lowest, highest = span
    return value - share * (value - lowest), value + share * (highest - value), "rule-of-three"


def shares_span(values: Floats) -> tuple[float, float] | None:
    """The range [0, 1] if all values look like shares; ``None`` for other numbers."""
    return (0.0, 1.0) if bool(((values >= 0) & (values <= 1)).all()) else None


def alike(one: float, two: float) -> bool:
    """Whether two numbers are equal up to rounding."""
    return abs(one - two) <= _ROUNDING * max(1.0, abs(one), abs(two))


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
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At p = 0 and p = 1 one limit is p itself; rounding must not put it on the wrong side.
    return (0.0 if p == 0 else max(0.0, center - reach)), (1.0 if p == 1 else min(1.0, center + reach))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise StatisticsError(f"a confidence of {confidence} is not between 0 and 1", hint="0.95 is usual")


def average_interval(tasks: Sequence[Interval], weights: Sequence[float] | None = None) -> Interval:
    """Average scores of independent tasks.

    The limits are the MOVER ones (Zou & Donner 2008, "Construction of confidence intervals about effect
    measures"): the distances of the tasks' limits from their scores add in squares, each side by itself,
    so that skewed intervals stay skewed.

    Args:
        tasks: Scores with intervals; an unknown interval (NaN) makes that of the average unknown.
        weights: Of the tasks, such as their documents; equal by default. They need not add up to 1.

    Returns:
        The average, by method ``mover``.

    Raises:
        StatisticsError: There are no tasks, or the weights do not fit them.
    """
    if not tasks:
        raise StatisticsError("an average needs at least one task")
    shares = np.ones(len(tasks)) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(tasks),) or (shares < 0).any() or shares.sum() <= 0:
        raise StatisticsError("an average needs one weight for each task, none negative and not all zero")
    shares = shares / shares.sum()
    value, low, high = np.array([task[:3] for task in tasks], dtype=np.float64).T
    mean = float(shares @ value)
    below = math.sqrt(float((shares**2) @ (value - low) ** 2))
    above = math.sqrt(float((shares**2) @ (high - value) ** 2))
    known = not math.isnan(below + above)
    return Interval(
        mean, mean - below, mean + above, "mover" if known else "none", sum(task.n for task in tasks)
    )
