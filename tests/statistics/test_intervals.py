"""Intervals against scipy, statsmodels, scikit-learn and naive resampling."""

from __future__ import annotations

import math
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, precision_score, recall_score
from statsmodels.stats.proportion import proportion_confint

from medbench.errors import StatisticsError
from medbench.scoring import aggregation
from medbench.statistics import (
    AGGREGATIONS,
    Interval,
    bootstrap_values,
    interval,
    mean_interval,
    sufficient,
    wilson_interval,
)
from medbench.statistics.intervals import standard_error


@pytest.mark.parametrize(("successes", "n"), [(0, 8), (8, 8), (1, 3), (37, 100), (999, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_equals_statsmodels(successes: int, n: int, confidence: float) -> None:
    expected = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx(expected, abs=1e-12)


def test_binary_means_get_wilson_and_other_means_student() -> None:
    binary = interval([1, 0, 1, 1])
    assert binary.method == "wilson"
    assert binary[1:3] == pytest.approx(wilson_interval(3, 4))
    values = [0.2, 0.7, 0.4, 0.9, 0.1]
    found = interval(values)
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert found.method == "t"
    assert found.n == 5
    assert found[1:3] == pytest.approx(expected)


def test_clustered_error_is_the_sum_over_clusters_written_out() -> None:
    values = np.array([0.1, 0.9, 0.4, 0.3, 0.8, 0.6])
    clusters = ["a", "a", "b", "b", "b", "c"]
    mean = values.mean()
    within = sum(
        (values[i] - mean) * (values[j] - mean)
        for i in range(6)
        for j in range(6)
        if clusters[i] == clusters[j]
    )
    expected = math.sqrt(within * 3 / 2) / 6
    found = mean_interval(values, clusters)
    assert found.method == "t-clustered"
    reach = expected * stats.t.ppf(0.975, 2)
    assert found[1:3] == pytest.approx((mean - reach, mean + reach))


def test_clusters_of_one_document_are_no_clusters() -> None:
    assert interval([1, 0, 1], clusters=["x", "y", "z"]) == interval([1, 0, 1])


def test_clustered_proportion_widens_with_the_design_effect() -> None:
    values = np.repeat([1, 0, 1, 1, 0, 1, 0, 1], 5)
    clusters = np.repeat(np.arange(8), 5)
    alone, grouped = interval(values), interval(values, clusters=clusters)
    assert grouped.method == "wilson-clustered"
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)
    assert 0 <= grouped.low <= grouped.value <= grouped.high <= 1


def test_clustered_proportion_without_variance_counts_clusters() -> None:
    found = interval([1] * 20, clusters=[0] * 10 + [1] * 10)
    assert found.high == 1
    assert found.low < wilson_interval(2, 2)[0] + 1e-12


def test_one_cluster_or_one_document_has_no_interval() -> None:
    assert math.isnan(interval([0.3]).low)
    assert interval([0.3]).method == "none"
    assert interval([1, 0], clusters=["a", "a"]).method == "none"


def test_micro_scores_are_the_textbook_ones() -> None:
    counts = np.array([[3, 1, 2], [0, 2, 0], [4, 0, 1]])
    tp, fp, fn = counts.sum(axis=0)
    assert interval(counts, "micro_precision").value == tp / (tp + fp)
    assert interval(counts, "micro_recall").value == tp / (tp + fn)
    assert interval(counts, "micro_f1").value == 2 * tp / (2 * tp + fp + fn)
    assert interval([[0, 1, 1]], "micro_f1").value == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_label_scores_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, predicted = zip(*pairs, strict=True)
    scores = {"f1": f1_score, "precision": precision_score, "recall": recall_score}
    for average, (name, score) in product(("macro", "weighted"), scores.items()):
        expected = score(gold, predicted, average=average, zero_division=0)
        assert sufficient(pairs, f"{average}_{name}").value == pytest.approx(expected, abs=1e-12)


def test_every_aggregation_of_scoring_has_an_interval() -> None:
    """Values, not only names: an interval must belong to the score beside it."""
    data: dict[str, Any] = {
        "mean": [0.25, 1.0, 0.5],
        "micro": [(2, 1, 0), (0, 0, 3), (4, 1, 1)],
        "macro": [("a", "a"), ("b", "a"), ("c", "d"), ("a", "a")],
    }
    data["weighted"] = data["macro"]
    names = [name for name in aggregation.__all__ if name.partition("_")[0] in data]
    assert set(names) <= set(AGGREGATIONS)
    for name in names:
        values = data[name.partition("_")[0]]
        assert interval(values, name, draws=50).value == pytest.approx(getattr(aggregation, name)(values))


@pytest.mark.parametrize("aggregation", ["macro_f1", "weighted_f1"])
def test_bootstrap_of_labels_equals_resampling_documents_one_by_one(aggregation: str) -> None:
    rng = np.random.default_rng(3)
    pairs = np.array(list("abc"), dtype=object)[rng.integers(0, 3, (60, 2))]
    fast = bootstrap_values(sufficient(pairs, aggregation), seed=1, draws=4_000)
    average = aggregation.partition("_")[0]
    slow = []
    for _ in range(300):
        sample = pairs[rng.integers(0, 60, 60)]
        slow.append(f1_score(sample[:, 0].tolist(), sample[:, 1].tolist(), average=average, zero_division=0))
    assert fast.mean() == pytest.approx(np.mean(slow), abs=0.015)
    assert fast.std() == pytest.approx(np.std(slow), rel=0.15)


@pytest.mark.parametrize("distinct", [True, False])
def test_both_ways_of_resampling_have_the_bootstrap_moments(distinct: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(80) if distinct else rng.integers(0, 3, 80).astype(float)
    sampled = bootstrap_values(sufficient(values, "mean"), seed=5, draws=20_000)
    assert sampled.mean() == pytest.approx(values.mean(), abs=4 * values.std() / math.sqrt(80 * 20_000))
    assert sampled.std() == pytest.approx(values.std() / math.sqrt(80), rel=0.03)


def test_wide_sparse_rows_resample_like_dense_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pairs = np.array([f"l{i}" for i in range(30)], dtype=object)[rng.integers(0, 30, (200, 2))]
    dense = interval(pairs, "macro_f1", draws=4_000)
    # The package exports a function of the same name as the module.
    monkeypatch.setattr(sys.modules["medbench.statistics.sufficient"], "_DENSE_CELLS", 0)
    sparse = interval(pairs, "macro_f1", draws=4_000)
    assert sparse.value == pytest.approx(dense.value)
    assert sparse[1:3] == pytest.approx(dense[1:3], abs=0.01)


def test_clustered_bootstrap_resamples_whole_clusters() -> None:
    rng = np.random.default_rng(1)
    effect = np.repeat(rng.random(20), 10)
    counts = np.column_stack([rng.random(200) < effect, rng.random(200) > effect, rng.random(200) > effect])
    alone = interval(counts.astype(int), "micro_f1", draws=2_000)
    grouped = interval(counts.astype(int), "micro_f1", np.repeat(np.arange(20), 10), draws=2_000)
    assert grouped.method == "bootstrap-clustered"
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 1.3 * (alone.high - alone.low)


def test_flawless_corpora_still_have_an_interval() -> None:
    found = interval([[2, 0, 0]] * 8, "micro_f1")
    assert found.method == "wilson-documents"
    assert found.high == 1
    assert found.low == pytest.approx(proportion_confint(8, 8, method="wilson")[0])
    assert interval([("a", "b")] * 6, "macro_f1").low == 0


def test_seeds_repeat_and_differ() -> None:
    counts = np.random.default_rng(0).integers(0, 5, (50, 3))
    first, again, other = (interval(counts, "micro_f1", seed=s, draws=500) for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("data", "aggregation"),
    [
        ([], "mean"),
        ([[1, 2]], "mean"),
        ([1.0, math.nan], "mean"),
        ([[1, 2]], "micro_f1"),
        (["a", "b"], "macro_f1"),
        ([1.0], "median"),
    ],
)
def test_unfit_data_are_refused(data: object, aggregation: str) -> None:
    with pytest.raises(StatisticsError):
        interval(data, aggregation)


def test_unfit_arguments_are_refused() -> None:
    with pytest.raises(StatisticsError, match="clusters"):
        interval([1, 0], clusters=["a"])
    with pytest.raises(StatisticsError, match="confidence"):
        interval([1, 0], confidence=95)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=60), st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_binary_intervals_hold_their_value(values: list[int], clusters: int) -> None:
    found: Interval = interval(values, clusters=[i % clusters for i in range(len(values))])
    assert math.isnan(found.low) or 0 <= found.low <= found.value <= found.high <= 1


def test_standard_error_of_one_unit_is_unknown() -> None:
    error, freedom = standard_error(np.array([0.4]))
    assert math.isnan(error)
    assert freedom == 0
