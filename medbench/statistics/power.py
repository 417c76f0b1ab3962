"""The smallest difference that a comparison can detect, and the documents that it needs.

All by the normal approximation to the power of a two-sided test (Miller 2024, "Adding error bars to evals",
sec. 5); the far tail, in which the test would reject in the wrong direction, is left out.
"""

from __future__ import annotations

import math

from scipy import special

from medbench.errors import StatisticsError


def minimal_detectable_effect(standard_error: float, *, alpha: float = 0.05, target: float = 0.8) -> float:
    """The true difference that a test finds with probability ``target``.

    Args:
        standard_error: Of the (paired) difference.
        alpha: Two-sided level of the test.
        target: Desired power.
    """
    return standard_error * (_z(1 - alpha / 2) + _z(target))


def power(effect: float, deviation: float, n: int, *, alpha: float = 0.05) -> float:
    """Probability that a paired test of ``n`` documents finds a true difference.

    Args:
        effect: True difference of the two scores.
        deviation: Standard deviation of the per-document differences; see :func:`discordant_deviation`.
        n: Documents.
        alpha: Two-sided level of the test.
    """
    _check(deviation)
    if n < 1:
        raise StatisticsError(f"{n} documents cannot be compared", hint="give at least one")
    return float(special.ndtr(abs(effect) * math.sqrt(n) / deviation - _z(1 - alpha / 2)))


def documents_needed(effect: float, deviation: float, *, alpha: float = 0.05, target: float = 0.8) -> int:
    """Documents with which a paired test finds a true difference with probability ``target``."""
    _check(deviation)
    if effect == 0:
        raise StatisticsError(
            "no number of documents shows a difference of 0", hint="give the smallest that matters"
        )
    return math.ceil((deviation * (_z(1 - alpha / 2) + _z(target)) / effect) ** 2)


def discordant_deviation(effect: float, discordant: float) -> float:
    """Standard deviation of paired differences of right (1) and wrong (0) answers.

    A difference is 1 or -1 on the ``discordant`` share of documents and 0 elsewhere, hence the variance is
    ``discordant - effect**2``.

    Args:
        effect: Difference of the two accuracies.
        discordant: Share of documents that exactly one system gets right; between two checkpoints of one
            model 0.1 to 0.3 is common.
    """
    if not abs(effect) <= discordant <= 1:
        raise StatisticsError(
            f"accuracies cannot differ by {effect} when only {discordant} of the documents do",
            hint="the discordant share lies between the difference and 1",
        )
    return math.sqrt(discordant - effect**2)


def _z(probability: float) -> float:
    if not 0 < probability < 1:
        raise StatisticsError("levels and powers lie between 0 and 1")
    return float(special.ndtri(probability))


def _check(deviation: float) -> None:
    if not deviation > 0:
        raise StatisticsError(f"a standard deviation of {deviation} allows no power analysis")
