"""lm-eval's aggregations: the same value from sums, and intervals that resampling by hand confirms."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from lm_eval.api import metrics as lm_eval_metrics
from lm_eval.api.registry import AGGREGATION_REGISTRY

from medbench.errors import StatisticsError
from medbench.statistics import AGGREGATIONS, document_scores, interval, paired, sufficient
from medbench.statistics import resampled_interval as resampled
from medbench.statistics.corpus import TEXT_AGGREGATIONS, corpus_rows

WORDS = ["the", "patient", "has", "had", "a", "fever", "for", "two", "days", "and", "takes", "no", "drugs"]


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(4, 12)))


def _near(text: str, rng: random.Random) -> str:
    return " ".join(word if rng.random() < 0.7 else rng.choice(WORDS) for word in text.split())


def _pairs(rng: random.Random, classes: Sequence[Any], n: int) -> list[tuple[Any, Any]]:
    found = [rng.choice(classes) for _ in range(n)]
    return [(gold, gold if rng.random() < 0.7 else rng.choice(classes)) for gold in found]


def _probabilities(rng: random.Random, n: int) -> list[tuple[int, Any]]:
    rows = np.random.default_rng(rng.randint(0, 99)).dirichlet([1, 1, 1], size=n)
    return [(rng.randint(0, 2), row) for row in rows]


def data(aggregation: str, n: int = 40, seed: int = 0) -> list[Any]:
    """Values of ``n`` documents as lm-eval's metrics hand them to the aggregation."""
    rng = random.Random(seed)
    if aggregation == "f1":
        return _pairs(rng, [0, 1], n)
    if aggregation == "matthews_corrcoef":
        return _pairs(rng, [0, 1, 2], n)
    if aggregation == "brier_score":
        return _probabilities(rng, n)
    if aggregation in ("weighted_perplexity", "bits_per_byte"):
        return [(-rng.uniform(5, 90), rng.randint(2, 40)) for _ in range(n)]
    if aggregation == "perplexity":
        return [-rng.uniform(0.1, 4) for _ in range(n)]
    if aggregation == "nanmean":
        return [math.nan if rng.random() < 0.2 else rng.random() for _ in range(n)]
    if aggregation in ("mean", "median"):
        return [rng.random() for _ in range(n)]
    references = [_text(rng) for _ in range(n)]
    return [[reference, _near(reference, rng)] for reference in references]


CORPUS = [name for name in AGGREGATION_REGISTRY if name not in ("mean", "median", "bypass")]


def test_every_registered_aggregation_is_known_or_is_resampled() -> None:
    assert set(AGGREGATION_REGISTRY) - set(AGGREGATIONS) == {"median", "bypass"}


@pytest.mark.parametrize("aggregation", CORPUS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_value_is_lm_evals_own(aggregation: str, seed: int) -> None:
    items = data(aggregation, seed=seed)
    expected = float(AGGREGATION_REGISTRY[aggregation](items))
    assert sufficient(items, aggregation).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("aggregation", CORPUS)
def test_the_interval_is_what_resampling_by_hand_gives(aggregation: str) -> None:
    items = data(aggregation, n=12 if aggregation in TEXT_AGGREGATIONS else 30)
    found = interval(items, aggregation, seed=3)
    by_hand = resampled(items, AGGREGATION_REGISTRY[aggregation], seed=5)
    assert found.value == pytest.approx(by_hand.value, abs=1e-9)
    assert found.low < found.value < found.high
    reach = found.high - found.low
    # Student's limits and the bootstrap's agree about as well as two bootstraps of a thousand draws do.
    assert found.low == pytest.approx(by_hand.low, abs=0.2 * reach)
    assert found.high == pytest.approx(by_hand.high, abs=0.2 * reach)
    assert found == interval(items, aggregation, seed=3)


@pytest.mark.parametrize("aggregation", [name for name in CORPUS if name != "nanmean"])
def test_two_systems_are_compared_on_the_same_documents(aggregation: str) -> None:
    first, second = data(aggregation, seed=0), data(aggregation, seed=0)
    same = paired(first, second, aggregation, draws=200)
    assert same.difference == 0
    assert same.p_value == 1
    assert (same.wins, same.losses) == (0, 0)
    assert len(document_scores(first, aggregation)) == len(first)


def test_classes_that_only_one_system_names_do_not_shift_the_others() -> None:
    gold = [0, 1, 2, 0, 1, 2] * 5
    first = list(zip(gold, gold, strict=True))
    second = [(label, 3 if i % 5 == 0 else label) for i, label in enumerate(gold)]
    found = paired(first, second, "matthews_corrcoef", draws=500)
    expected = [lm_eval_metrics.matthews_corrcoef(side) for side in (first, second)]
    assert found.difference == pytest.approx(expected[0] - expected[1], abs=1e-9)
    assert found.p_value < 0.05


def test_several_references_and_listed_predictions() -> None:
    rng = random.Random(1)
    texts = [_text(rng) for _ in range(12)]
    items = [[[text, _near(text, rng)], [_near(text, rng)]] for text in texts]
    for aggregation in ("bleu", "chrf", "chrf++", "ter"):
        expected = AGGREGATION_REGISTRY[aggregation](items)
        assert sufficient(items, aggregation).value == pytest.approx(expected, abs=1e-9)


def test_clusters_are_resampled_whole() -> None:
    items = data("weighted_perplexity", n=40)
    clusters = [i // 4 for i in range(40)]
    alone, together = (
        interval(items, "weighted_perplexity", which, draws=2000) for which in (None, clusters)
    )
    assert together.method == "bootstrap-clustered"
    assert (alone.low, alone.high) != (together.low, together.high)
    score: Callable[[Any], Any] = AGGREGATION_REGISTRY["weighted_perplexity"]
    by_hand = resampled(items, score, clusters)
    assert by_hand.method == "bootstrap-clustered"
    assert by_hand.low == pytest.approx(together.low, abs=0.2 * (together.high - together.low))


@pytest.mark.parametrize(
    ("aggregation", "items"),
    [
        ("perplexity", [-1.0, math.nan]),
        ("perplexity", [-1.0, -math.inf]),
        ("weighted_perplexity", [(-1.0, 3), (math.nan, 2)]),
        ("weighted_perplexity", [-1.0, -2.0]),
        ("bits_per_byte", [(-1.0, None)]),
        ("brier_score", [(0, [0.5, 0.5]), (1, [0.2, 0.3, 0.5])]),
        ("brier_score", [(5, [0.5, 0.5])]),
        ("bleu", [("a", 3)]),
        ("bleu", []),
        ("chrf", [None, None]),
        ("f1", [([0, 1], 1), ([1], 1)]),
        ("matthews_corrcoef", [1, 2, 3]),
        ("median", [1.0, 2.0]),
    ],
)
def test_values_that_do_not_fit_are_named(aggregation: str, items: list[Any]) -> None:
    with pytest.raises(StatisticsError):
        interval(items, aggregation)


@pytest.mark.parametrize(
    ("aggregation", "items"),
    [
        ("perplexity", [-1.0] * 5),
        ("weighted_perplexity", [(-2.0, 4)] * 5),
        ("matthews_corrcoef", [(1, 1)] * 5),
        ("chrf", [("a b c d", "a b c d")] * 5),
        ("bits_per_byte", [(0.0, 4)] * 5),
    ],
)
def test_documents_that_do_not_differ_give_no_interval_of_width_zero(
    aggregation: str, items: list[Any]
) -> None:
    found = interval(items, aggregation)
    assert found.method == "none"
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.value == pytest.approx(float(AGGREGATION_REGISTRY[aggregation](items)), abs=1e-9)


def test_nothing_that_counts_has_no_mean() -> None:
    found = interval([math.nan, math.nan], "nanmean")
    assert math.isnan(found.value)
    assert (found.method, found.n) == ("none", 0)


def test_documents_without_a_number_are_left_out_of_the_mean() -> None:
    assert interval([1.0, math.nan, 0.0, 1.0], "nanmean") == interval([1.0, 0.0, 1.0])


def _refusing(values: list[float]) -> float:
    if len(set(values)) < len(values):
        raise ValueError("twice")
    return sum(values)


@pytest.mark.parametrize(
    ("score", "why"),
    [
        (lambda values: 999, "same score"),
        (_refusing, "ValueError: twice"),
        (lambda values: math.nan if len(set(values)) < len(values) else 1.0, "fails on resampled"),
    ],
)
def test_an_aggregation_that_cannot_be_resampled_says_why(score: Any, why: str) -> None:
    with pytest.raises(StatisticsError, match=why):
        resampled([float(i) for i in range(20)], score)


def test_a_single_document_has_no_interval() -> None:
    with pytest.raises(StatisticsError, match="single document"):
        resampled([1.0], sum)
    with pytest.raises(StatisticsError, match="single document"):
        resampled([1.0, 2.0], sum, ["a", "a"])


def test_rare_refusals_are_left_out() -> None:
    calls: list[int] = []

    def score(values: list[float]) -> float:
        calls.append(len(values))
        return math.nan if len(calls) % 100 == 0 else float(np.mean(values))

    found = resampled([float(i) for i in range(20)], score, seed=1)
    assert found.low < 9.5 < found.high
    assert len(calls) == 1001


def test_calls_are_fewer_the_more_documents_there_are() -> None:
    calls: list[int] = []

    def score(values: list[float]) -> float:
        calls.append(1)
        return float(np.median(values))

    resampled(list(np.random.default_rng(0).random(4000)), score)
    assert len(calls) == 201


def test_rows_are_refused_for_what_is_no_corpus_aggregation() -> None:
    with pytest.raises(KeyError):
        corpus_rows([1.0], "mean")
