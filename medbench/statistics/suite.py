"""Averages over the tasks of a suite, with intervals derived from those of the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medbench.errors import StatisticsError
from medbench.statistics.intervals import Interval

__all__ = ["average_interval"]


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
