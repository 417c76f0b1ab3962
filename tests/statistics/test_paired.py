"""Paired tests against statsmodels, scipy and exhaustive enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from medbench.errors import StatisticsError
from medbench.statistics import bonett_price_interval, mcnemar_exact, paired, paired_draws, sufficient


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=80, deadline=None)
def test_mcnemar_equals_statsmodels(wins: int, losses: int) -> None:
    table = [[10, wins], [losses, 10]]
    expected = mcnemar(table, exact=True).pvalue if wins + losses else 1.0
    assert mcnemar_exact(wins, losses) == pytest.approx(expected, abs=1e-12)


def test_bonett_price_by_hand() -> None:
    # 9 and 3 discordant of 40: p12 = 10/42, p21 = 4/42.
    up, down = 10 / 42, 4 / 42
    reach = stats.norm.ppf(0.975) * np.sqrt((up + down - (up - down) ** 2) / 42)
    assert bonett_price_interval(9, 3, 40) == pytest.approx((up - down - reach, up - down + reach))


def test_binary_comparison() -> None:
    first = np.array([1] * 30 + [0] * 10 + [1] * 12 + [0] * 8)
    second = np.array([1] * 30 + [1] * 10 + [0] * 12 + [0] * 8)
    found = paired(first, second)
    assert (found.wins, found.losses, found.n) == (12, 10, 60)
    assert found.test == "mcnemar-exact"
    assert found.p_value == mcnemar_exact(12, 10)
    assert found.difference == pytest.approx(2 / 60)
    assert found.low < found.difference < found.high


def test_means_get_a_paired_t_interval() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(30), rng.random(30)
    found = paired(first, second)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.test == "randomisation"


def test_randomisation_equals_the_exact_sign_flip_distribution() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.random(11), rng.random(11) - 0.15
    change = first - second
    flips = np.array(list(product([1, -1], repeat=11)))
    exact = (np.abs(flips @ change / 11) >= abs(change.mean()) - 1e-12).mean()
    assert paired(first, second, draws=40_000).p_value == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("n", [9, 200])
def test_randomisation_of_f1_equals_swapping_documents(n: int) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.integers(0, 4, (n, 3)), rng.integers(0, 4, (n, 3))
    second[:, 1] += 1
    finish = sufficient(first, "micro_f1").finish
    observed = abs(finish(first.sum(axis=0).astype(float)) - finish(second.sum(axis=0).astype(float)))
    extreme = 0
    for _ in range(3_000):
        swap = rng.random(n) < 0.5
        one = np.where(swap[:, None], second, first).sum(axis=0).astype(float)
        two = np.where(swap[:, None], first, second).sum(axis=0).astype(float)
        extreme += bool(abs(finish(one) - finish(two)) >= observed - 1e-12)
    assert paired(first, second, "micro_f1").p_value == pytest.approx(extreme / 3_000, abs=0.035)


def test_clusters_are_swapped_whole() -> None:
    # One large cluster carries the difference: with 4 clusters p cannot fall below 2 / 2^4.
    first = np.array([1.0] * 20 + [0.0] * 20)
    second = np.array([0.0] * 20 + [0.0] * 20)
    clusters = np.repeat(np.arange(4), 10)
    found = paired(first, second, clusters=clusters)
    assert found.interval == "t-clustered"
    assert found.test == "randomisation"
    assert found.p_value == pytest.approx(
        0.5, abs=0.03
    )  # two of four clusters differ: signs agree half the time
    assert paired(first, second).p_value < 1e-4


def test_equal_answers_are_no_evidence() -> None:
    labels = [("a", "a"), ("b", "a")] * 20
    for data, aggregation in ((labels, "macro_f1"), ([[1, 1, 0]] * 9, "micro_f1"), ([0.5, 0.25] * 9, "mean")):
        found = paired(data, data, aggregation, draws=200)
        assert found.difference == 0
        assert found.p_value == 1
        assert (found.wins, found.losses) == (0, 0)


def test_flips_of_counts_take_an_empty_document_as_right() -> None:
    found = paired([[0, 0, 0], [1, 0, 0]], [[0, 1, 0], [1, 0, 0]], "micro_f1", draws=100)
    assert (found.wins, found.losses) == (1, 0)


def test_the_same_draws_serve_all_systems() -> None:
    values = np.random.default_rng(0).random(50)
    sampled = paired_draws([sufficient(values, "mean"), sufficient(values + 0.25, "mean")], draws=300)
    assert sampled[:, 1] - sampled[:, 0] == pytest.approx(np.full(300, 0.25))


def test_mismatched_documents_are_refused() -> None:
    with pytest.raises(StatisticsError, match="same documents"):
        paired([1, 0], [1, 0, 1])
    with pytest.raises(StatisticsError, match="gold"):
        paired([("a", "a")], [("b", "a")], "macro_f1")
