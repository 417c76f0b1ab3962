"""Holm, power, averages, ranks, calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import brier_score_loss
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from medbench.errors import StatisticsError
from medbench.statistics import (
    Interval,
    average_interval,
    brier_score,
    discordant_deviation,
    documents_needed,
    expected_calibration_error,
    holm,
    interval,
    minimal_detectable_effect,
    power,
    rank_intervals,
    reliability,
)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=25))
@settings(max_examples=60, deadline=None)
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_leaves_out_what_was_not_tested() -> None:
    found = holm([0.01, math.nan, 0.04])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.04)
    assert len(holm([])) == 0


def test_power_equals_statsmodels() -> None:
    # A paired test is a one-sample test; NormalIndPower with ratio 0 is its one-sample form.
    expected = NormalIndPower(ddof=0).power(0.05 / 0.4, 500, 0.05, ratio=0, alternative="two-sided")
    assert power(0.05, 0.4, 500) == pytest.approx(expected, abs=1e-4)


def test_power_size_and_effect_agree() -> None:
    deviation = discordant_deviation(0.05, 0.2)
    assert deviation == pytest.approx(math.sqrt(0.2 - 0.0025))
    n = documents_needed(0.05, deviation)
    assert power(0.05, deviation, n) >= 0.8 > power(0.05, deviation, n - 1)
    effect = minimal_detectable_effect(deviation / math.sqrt(n))
    assert effect == pytest.approx(0.05, rel=1e-3)
    assert minimal_detectable_effect(1.0) == pytest.approx(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))


@pytest.mark.parametrize(
    "call",
    [
        lambda: discordant_deviation(0.3, 0.2),
        lambda: documents_needed(0.0, 0.4),
        lambda: power(0.1, 0.0, 10),
        lambda: power(0.1, 0.4, 0),
        lambda: minimal_detectable_effect(0.1, target=1.5),
    ],
)
def test_impossible_plans_are_refused(call: object) -> None:
    with pytest.raises(StatisticsError):
        call()  # type: ignore[operator]


def test_average_of_symmetric_intervals_adds_errors_in_squares() -> None:
    tasks = [Interval(0.5, 0.4, 0.6, "t", 10), Interval(0.7, 0.4, 1.0, "t", 30)]
    macro = average_interval(tasks)
    reach = math.sqrt(0.1**2 + 0.3**2) / 2
    assert macro[:3] == pytest.approx((0.6, 0.6 - reach, 0.6 + reach))
    assert macro.n == 40
    sized = average_interval(tasks, [10, 30])
    assert sized.value == pytest.approx(0.65)


def test_average_keeps_skew_and_unknown_limits() -> None:
    skewed = average_interval([interval([1] * 9), interval([1] * 9)])
    assert skewed.value == skewed.high == 1
    assert skewed.low > interval([1] * 9).low
    assert average_interval([interval([1] * 9), interval([0.5])]).method == "none"
    with pytest.raises(StatisticsError):
        average_interval([])
    with pytest.raises(StatisticsError):
        average_interval([interval([1, 0])], [1, 2])


def test_ranks_tie_within_noise_and_part_beyond() -> None:
    rng = np.random.default_rng(0)
    scores = np.array([0.9, 0.52, 0.5])
    draws = scores + rng.normal(scale=0.02, size=(4_000, 3))
    best, second, third = rank_intervals(scores, draws)
    assert best == (1, 1, 1)
    assert second == (2, 2, 3)
    assert third == (3, 2, 3)


def test_the_ranks_of_many_systems_hold_together() -> None:
    rng = np.random.default_rng(1)
    # Twenty others lie 2.5 standard errors below: too far for one, not for the farthest of twenty.
    scores = np.array([0.0, *[-2.5] * 20])
    draws = scores + np.column_stack([np.zeros(4_000), rng.normal(size=(4_000, 20))])
    assert rank_intervals(scores, draws)[0] == (1, 1, 21)
    assert rank_intervals(scores[:2], draws[:, :2])[0] == (1, 1, 1)


def test_equal_systems_share_a_rank() -> None:
    draws = np.random.default_rng(0).normal(size=(500, 1)) + np.zeros((1, 2))
    assert rank_intervals(np.array([0.4, 0.4]), draws) == [(1, 1, 2), (1, 1, 2)]
    assert rank_intervals(np.array([0.4]), draws[:, :1]) == [(1, 1, 1)]


def test_paired_draws_separate_what_unpaired_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(scale=0.05, size=(4_000, 1))
    scores = np.array([0.53, 0.5])
    together = scores + shared + rng.normal(scale=0.005, size=(4_000, 2))
    apart = scores + rng.normal(scale=0.05, size=(4_000, 2))
    assert rank_intervals(scores, together)[0].high == 1
    assert rank_intervals(scores, apart)[0].high == 2


def test_calibration_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([1.0, 1.0, 1.0, 0.0])
    bins = reliability(confidence, correct)
    assert [b.n for b in bins] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert bins[9].accuracy == 1
    assert bins[5].accuracy == 0.5
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert reliability(np.array([1.0]), np.array([1.0]))[9].n == 1


def test_brier_of_two_options_is_twice_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p, gold = rng.random(50), rng.integers(0, 2, 50)
    found = brier_score([np.array([1 - x, x]) for x in p], gold)
    assert found == pytest.approx(2 * brier_score_loss(gold, p))


def test_calibration_refuses_what_are_no_probabilities() -> None:
    with pytest.raises(StatisticsError):
        reliability(np.array([1.5]), np.array([1.0]))
    with pytest.raises(StatisticsError):
        reliability(np.array([]), np.array([]))
    with pytest.raises(StatisticsError):
        brier_score([], np.array([], dtype=int))
