"""Intervals beside scores: of the very function that made the score, or none, and never a failure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from lm_eval.api import metrics as lm_eval_metrics

from medbench.runs.estimates import ALL_ALIKE, estimate
from medbench.runs.metrics import ABSENT, aggregation_name, as_number, main_metric
from medbench.scoring import aggregation
from medbench.statistics import interval


def macro_f1(values: list[Any]) -> float:
    """A task's own, by the name of another."""
    return float(len(values))


def of(value: float | None, values: list[Any], function: Any, **options: Any) -> Any:
    settings: dict[str, Any] = {"clusters": [str(i) for i in range(len(values))], "seed": 1} | options
    return estimate("own", value, values, function, **settings)


HITS = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]


def test_a_known_aggregation_has_its_formula() -> None:
    assert of(4 / 6, HITS, None).interval == interval(HITS, seed=1)
    assert of(4 / 6, HITS, lm_eval_metrics.mean).interval.method == "wilson"
    assert of(4 / 6, HITS, aggregation.mean).interval.method == "wilson"


def test_any_other_function_is_resampled() -> None:
    found = of(1.0, HITS, np.median)
    assert found.interval.method == "bootstrap"
    assert found.interval.low < found.interval.high


@pytest.mark.parametrize("function", [None, np.median, lm_eval_metrics.mean])
def test_an_interval_around_another_score_is_none(function: Any) -> None:
    found = of(0.123, HITS, function)
    assert found.why == "the documents do not make this score"
    assert found.interval.value == 0.123
    assert math.isnan(found.interval.low)


@pytest.mark.parametrize(
    ("value", "values", "function", "why"),
    [
        (None, HITS, None, "no finite number"),
        (math.nan, [math.nan, 1.0], None, "no finite number"),
        (math.inf, [-800.0, -900.0], lm_eval_metrics.perplexity, "no finite number"),
        (999.0, [None, None, None], lm_eval_metrics.bypass_agg, "same score"),
        (6.0, HITS, macro_f1, "same score"),
        (0.5, [0.5], None, "single document"),
        (-2.0, [-2.0] * 4, lambda items: items[0], "same score"),
        (math.exp(2.0), [-2.0] * 4, lm_eval_metrics.perplexity, ALL_ALIKE),
        (1.0, [{"a": 1}, {"a": 1}], lambda items: items[7]["a"], "IndexError"),
    ],
)
def test_why_there_is_none(value: float | None, values: list[Any], function: Any, why: str) -> None:
    found = of(value, values, function)
    assert why in found.why
    assert found.interval.method == "none"
    assert math.isnan(found.interval.low)
    assert math.isnan(found.interval.high)
    assert found.interval.n == len(values)
    shown = math.nan if value is None else value
    assert found.interval.value == shown or math.isnan(shown)


def test_documents_that_a_metric_says_nothing_of_do_not_count() -> None:
    values = [1.0, ABSENT, 0.0, ABSENT, 1.0]
    assert of(2 / 3, values, None).interval == interval([1.0, 0.0, 1.0], seed=1)


def test_clusters_follow_the_documents_that_count() -> None:
    values = [1.0, ABSENT, 0.0, 0.0, 1.0, 1.0]
    clusters = ["a", "a", "b", "b", "c", "a"]
    found = of(3 / 5, values, None, clusters=clusters)
    assert found.interval == interval([1.0, 0.0, 0.0, 1.0, 1.0], "mean", ["a", "b", "b", "c", "a"], seed=1)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (None, "mean"),
        (lm_eval_metrics.mean, "mean"),
        (aggregation.mean, "mean"),
        (aggregation.macro_f1, "macro_f1"),
        (aggregation.micro_precision, "micro_precision"),
        (macro_f1, "custom:macro_f1"),
        (lm_eval_metrics.f1_score, "f1"),
        (lm_eval_metrics.weighted_perplexity, "weighted_perplexity"),
        (lm_eval_metrics.chrfpp, "chrf++"),
        (lm_eval_metrics.median, "median"),
        (sum, "custom:sum"),
        (np.mean, "custom:mean"),
        (lambda items: 0.0, "custom:<lambda>"),
    ],
)
def test_an_aggregation_is_known_by_what_it_is(function: Any, name: str) -> None:
    assert aggregation_name(function) == name


@pytest.mark.parametrize(
    ("named", "listed", "scored", "expected"),
    [
        (None, ["acc", "acc_norm"], ["acc", "acc_norm"], "acc"),
        ("acc_norm", ["acc", "acc_norm"], ["acc", "acc_norm"], "acc_norm"),
        ("typo", ["acc"], ["acc"], "acc"),
        (None, ["perplexity", "acc"], ["acc"], "acc"),
        (None, [], ["own"], "own"),
        (None, ["acc"], [], "acc"),
        (None, [], [], "none"),
    ],
)
def test_the_main_metric_is_one_that_was_scored(
    named: str | None, listed: list[str], scored: list[str], expected: str
) -> None:
    class Task:
        config = type("Config", (), {"metadata": {} if named is None else {"main_metric": named}})
        aggregation = staticmethod(lambda: dict.fromkeys(listed))

    assert main_metric(Task, scored) == expected


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (True, 1.0), (np.int64(3), 3.0), (np.array(0.5), 0.5), ("1", None), (None, None), ([1], None)],
)
def test_what_counts_as_a_number(value: Any, number: float | None) -> None:
    assert as_number(value) == number
