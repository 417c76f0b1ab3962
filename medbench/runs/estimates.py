"""An interval for every score that has one, whatever makes the score of its documents."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medbench.errors import StatisticsError
from medbench.runs.metrics import ABSENT, aggregation_name

if TYPE_CHECKING:
    from medbench.statistics import Interval

#: Why a score has no interval that other documents might well have.
ALL_ALIKE = "the documents do not differ"

# Means of overlaps between texts: skewed and bounded, so that their intervals are resampled.
_RESAMPLED = ("rouge_", "bleu_")
# How far a score recomputed from sums may be from the harness's own, relative to its size.
_AGREEMENT = 1e-7


class Estimate(NamedTuple):
    """A score with its interval.

    Attributes:
        interval: Around the harness's own value; of method ``none`` where none can be given.
        why: Why none can be given; empty where one is.
    """

    interval: Interval
    why: str


def estimate(
    metric: str,
    value: float | None,
    values: Sequence[Any],
    function: Callable[..., Any] | None,
    *,
    clusters: Sequence[str],
    seed: int,
) -> Estimate:
    """Find the interval of a score; never fails, and never changes the score.

    Args:
        metric: Name of the metric.
        value: The score as the harness aggregated it; ``None`` if it is no number.
        values: What the metric gave each document, ``ABSENT`` for those it gave nothing.
        function: What made the score of them; ``None`` for the mean.
        clusters: The cluster of each document.
        seed: Seeds the bootstrap.
    """
    from medbench.statistics import Interval

    kept = [i for i, item in enumerate(values) if item is not ABSENT]
    n = len(kept)
    none = Interval(math.nan if value is None else value, math.nan, math.nan, "none", n)
    if value is None or not math.isfinite(value):
        return Estimate(none, "the score is no finite number")
    items, belonging = [values[i] for i in kept], [clusters[i] for i in kept]
    try:
        found = interval_by_sums(metric, items, aggregation_name(function), belonging, seed)
        if found is None:
            found = _by_resampling(items, function, belonging, seed)
    except Exception as error:  # noqa: BLE001 - a task's own values and functions may raise anything
        return Estimate(
            none, error.what if isinstance(error, StatisticsError) else f"{type(error).__name__}: {error}"
        )
    # An interval belongs to the score beside it, or is none.
    if not math.isclose(found.value, value, rel_tol=_AGREEMENT, abs_tol=_AGREEMENT):
        return Estimate(none, "the documents do not make this score")
    if found.method == "none":
        return Estimate(none, "a single document" if n < 2 else ALL_ALIKE)
    return Estimate(found._replace(value=value), "")


def interval_by_sums(
    metric: str, items: Sequence[Any], aggregation: str, clusters: Sequence[str], seed: int
) -> Interval | None:
    """The score of documents and its interval, by the formula of a known aggregation.

    Args:
        metric: Name of the metric.
        items: What it gave each document.
        aggregation: Name of what makes a score of them.
        clusters: The cluster of each document.
        seed: Seeds the bootstrap.

    Returns:
        ``None`` if the aggregation is none of those, or cannot read the values.
    """
    from medbench.statistics import AGGREGATIONS, interval

    if aggregation not in AGGREGATIONS:
        return None
    method: Literal["auto", "bootstrap"] = "bootstrap" if metric.startswith(_RESAMPLED) else "auto"
    try:
        return interval(items, aggregation, clusters=clusters, seed=seed, method=method)
    except StatisticsError:
        return None  # values of a form that only the function itself can read


def _by_resampling(
    items: list[Any], function: Callable[..., Any] | None, clusters: list[str], seed: int
) -> Interval:
    from lm_eval.api.metrics import mean

    from medbench.statistics import resampled_interval

    # Hundreds of resamples repeat whatever an aggregation has to say of rare classes.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return resampled_interval(items, function or mean, clusters, seed=seed)
