"""Calibration: do probabilities agree with frequencies?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medbench.errors import StatisticsError
from medbench.statistics.corpus import Floats
from medbench.statistics.intervals import wilson_interval


class Bin(NamedTuple):
    """Documents whose confidence falls into one bin of a reliability diagram.

    Attributes:
        low: Lower edge of the bin.
        high: Upper edge.
        confidence: Mean probability of the chosen option (NaN in an empty bin).
        accuracy: Share of documents answered correctly (NaN in an empty bin).
        accuracy_low: Lower limit of the accuracy, by Wilson's interval at 95%.
        accuracy_high: Upper limit.
        n: Documents.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    n: int


def reliability(
    confidences: NDArray[np.float64], correct: NDArray[np.float64], *, bins: int = 10
) -> list[Bin]:
    """Bin documents by confidence, in bins of equal width (Guo et al. 2017, "On calibration…", sec. 2).

    Args:
        confidences: ``[n]`` probability of the chosen option, in [0, 1].
        correct: ``[n]`` 1 where it was right, else 0.
        bins: Number of bins.
    """
    confidences, correct = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidences.shape != correct.shape or confidences.ndim != 1 or not len(confidences):
        raise StatisticsError(
            "calibration needs one confidence and one verdict for each of one or more documents"
        )
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise StatisticsError("confidences are probabilities between 0 and 1")
    index = np.minimum((confidences * bins).astype(int), bins - 1)
    found = []
    for i in range(bins):
        inside = index == i
        n = int(inside.sum())
        if n:
            low, high = wilson_interval(float(correct[inside].sum()), n)
            row = (float(confidences[inside].mean()), float(correct[inside].mean()), low, high)
        else:
            row = (float("nan"),) * 4
        found.append(Bin(i / bins, (i + 1) / bins, *row, n))
    return found


def expected_calibration_error(
    confidences: NDArray[np.float64], correct: NDArray[np.float64], *, bins: int = 10
) -> float:
    """Mean gap between confidence and accuracy, weighted by documents (Naeini, Cooper & Hauskrecht 2015)."""
    filled = [b for b in reliability(confidences, correct, bins=bins) if b.n]
    return sum(b.n * abs(b.accuracy - b.confidence) for b in filled) / sum(b.n for b in filled)


def brier_score(probabilities: list[Floats], gold: NDArray[np.intp]) -> float:
    """Mean squared distance of the option probabilities from the truth (Brier 1950), between 0 and 2.

    Args:
        probabilities: For each document ``[options]``, adding up to 1; documents may differ in options.
        gold: ``[n]`` index of the right option.
    """
    if not len(probabilities) or len(probabilities) != len(gold):
        raise StatisticsError(
            "a Brier score needs probabilities and the right option of one or more documents"
        )
    # Σ(p - y)² = Σp² - 2 p_gold + 1, for y the one-hot truth.
    return float(np.mean([p @ p - 2 * p[g] + 1 for p, g in zip(probabilities, gold, strict=True)]))
