"""Averages over the tasks of a suite, with the tasks' intervals carried along."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medbench.errors import StatisticsError
from medbench.statistics.intervals import Interval

__all__ = ["combine"]


def combine(tasks: Sequence[Interval], *, weight_by_size: bool = False) -> Interval:
    """Average scores of independent tasks.

    The limits are the MOVER ones (Zou & Donner 2008, "Construction of confidence intervals about effect
    measures"): the distances of the tasks' limits from their scores add in squares, each side by itself,
    so that skewed intervals stay skewed.

    Args:
        tasks: Scores with intervals; an unknown interval (NaN) makes that of the average unknown.
        weight_by_size: Weight tasks by their documents instead of equally.

    Returns:
        The average, by method ``mover``.

    Raises:
        StatisticsError: There are no tasks, or sizes are asked for and are all zero.
    """
    if not tasks:
        raise StatisticsError("an average needs at least one task")
    sizes = np.array([task.n for task in tasks], dtype=np.float64)
    weights = sizes if weight_by_size else np.ones(len(tasks))
    if weights.sum() <= 0:
        raise StatisticsError("tasks of no documents cannot be weighted by size")
    weights = weights / weights.sum()
    value, low, high = np.array([task[:3] for task in tasks], dtype=np.float64).T
    mean = float(weights @ value)
    below = math.sqrt(float((weights**2) @ (value - low) ** 2))
    above = math.sqrt(float((weights**2) @ (high - value) ** 2))
    known = not math.isnan(below + above)
    return Interval(mean, mean - below, mean + above, "mover" if known else "none", int(sizes.sum()))
