"""Many comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medbench.statistics.corpus import Floats

__all__ = ["holm"]


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
