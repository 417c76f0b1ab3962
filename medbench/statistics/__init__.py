"""Intervals, paired tests, ranks, power and calibration: pure functions on arrays, with seeded draws."""

from __future__ import annotations

from medbench.statistics.calibration import Bin, brier_score, expected_calibration_error, reliability
from medbench.statistics.foreign import resampled_interval
from medbench.statistics.intervals import Interval, average_interval, interval, mean_interval, wilson_interval
from medbench.statistics.paired import (
    Paired,
    bonett_price_interval,
    document_scores,
    holm,
    mcnemar_exact,
    paired,
    paired_draws,
)
from medbench.statistics.power import (
    discordant_deviation,
    documents_needed,
    minimal_detectable_effect,
    power,
)
from medbench.statistics.ranks import RankInterval, rank_intervals
from medbench.statistics.resampling import DRAWS, bootstrap_values
from medbench.statistics.sufficient import AGGREGATIONS, LABEL_AGGREGATIONS, Sufficient, sufficient

__all__ = [
    "AGGREGATIONS",
    "DRAWS",
    "LABEL_AGGREGATIONS",
    "Bin",
    "Interval",
    "Paired",
    "RankInterval",
    "Sufficient",
    "average_interval",
    "bonett_price_interval",
    "bootstrap_values",
    "brier_score",
    "discordant_deviation",
    "document_scores",
    "documents_needed",
    "expected_calibration_error",
    "holm",
    "interval",
    "mcnemar_exact",
    "mean_interval",
    "minimal_detectable_effect",
    "paired",
    "paired_draws",
    "power",
    "rank_intervals",
    "reliability",
    "resampled_interval",
    "sufficient",
    "wilson_interval",
]
