"""Documents that all agree still leave a score uncertain: no interval has width zero, no error is zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from medbench.statistics import interval, minimal_detectable_effect, paired
from medbench.statistics.intervals import agreeing_interval

LABELS = [("a", "a"), ("b", "b"), ("c", "c")]

#: Data of 12 documents that all agree, the aggregation, and the lowest and highest score there is.
AGREEING: list[tuple[str, Any, str]] = [
    ("all right", [1.0] * 12, "mean"),
    ("all wrong", [0.0] * 12, "mean"),
    ("the same share", [0.37] * 12, "mean"),
    ("a share that rounds", [0.1 + 0.2] * 12, "mean"),
    ("nothing found", [[0, 0, 1]] * 12, "micro_f1"),
    ("everything found", [[3, 0, 0]] * 12, "micro_f1"),
    ("half found", [[1, 1, 1]] * 12, "micro_f1"),
    ("precise", [[2, 1, 0]] * 12, "micro_precision"),
    ("recalled", [[2, 0, 1]] * 12, "micro_recall"),
    ("right labels", LABELS * 4, "weighted_f1"),
    ("one right label", [("a", "a")] * 12, "macro_f1"),
    ("one wrong label", [("a", "b")] * 12, "macro_f1"),
]
CLUSTERS = {"documents": None, "pairs": [i // 2 for i in range(12)], "halves": [i // 6 for i in range(12)]}


@pytest.mark.parametrize("clusters", CLUSTERS)
@pytest.mark.parametrize(("name", "data", "aggregation"), AGREEING, ids=[row[0] for row in AGREEING])
def test_agreeing_documents_leave_room(name: str, data: Any, aggregation: str, clusters: str) -> None:
    found = interval(data, aggregation, CLUSTERS[clusters], draws=200)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.05
    assert (found.low < found.value) == (found.value > 0)
    assert (found.high > found.value) == (found.value < 1)


@pytest.mark.parametrize("method", ["auto", "bootstrap"])
def test_the_rule_of_three(method: Any) -> None:
    share = 1 - 0.025 ** (1 / 12)
    found = interval([0.25] * 12, "mean", method=method, draws=200)
    assert found.method == "rule-of-three"
    assert (found.low, found.high) == pytest.approx((0.25 - share * 0.25, 0.25 + share * 0.75))
    # Three in n, one-sided at 95%: the rule by which it is known.
    low, _, _ = agreeing_interval(1.0, 1000, (0.0, 1.0), confidence=0.9)
    assert 1 - low == pytest.approx(3 / 1000, rel=0.01)


def test_the_rule_of_three_covers() -> None:
    # The worst case for a true mean of s: all documents agree at 0 while a share s would be at 1.
    n = 12
    _, high, _ = agreeing_interval(0.0, n, (0.0, 1.0))
    assert (1 - high) ** n == pytest.approx(0.025)


@pytest.mark.parametrize("value", [12.5, -3.0, 1.5])
@pytest.mark.parametrize("method", ["auto", "bootstrap"])
def test_numbers_of_unknown_range_have_no_interval_where_all_agree(value: float, method: Any) -> None:
    found = interval([value] * 8, "mean", method=method, draws=200)
    assert found.method == "none"
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_single_document_has_no_interval_of_a_corpus_score() -> None:
    assert interval([[1, 1, 1]], "micro_f1").method == "none"
    assert interval([0.3], "mean", method="bootstrap").method == "none"


#: Pairs of data without a flip or with the same change in every document.
UNCHANGED: list[tuple[str, Any, Any, str]] = [
    ("binary", [1.0, 0.0] * 6, [1.0, 0.0] * 6, "mean"),
    ("all right", [1.0] * 12, [1.0] * 12, "mean"),
    ("shares", [0.5, 0.25] * 6, [0.5, 0.25] * 6, "mean"),
    ("shares that all moved", [0.6, 0.35] * 6, [0.5, 0.25] * 6, "mean"),
    ("counts", [[1, 1, 0], [2, 0, 1]] * 6, [[1, 1, 0], [2, 0, 1]] * 6, "micro_f1"),
    ("other counts", [[2, 0, 0]] * 12, [[1, 1, 1]] * 12, "micro_f1"),
    ("labels", LABELS * 4, LABELS * 4, "macro_f1"),
    ("wrong labels", [("a", "b")] * 12, [("a", "b")] * 12, "weighted_f1"),
    ("recall", [[1, 0, 1]] * 12, [[1, 0, 1]] * 12, "micro_recall"),
    ("right and wrong in every pair", [1.0, 0.0] * 6, [0.0, 1.0] * 6, "mean"),
]


@pytest.mark.parametrize("clusters", CLUSTERS)
@pytest.mark.parametrize(("name", "one", "two", "aggregation"), UNCHANGED, ids=[row[0] for row in UNCHANGED])
def test_a_difference_without_spread_is_not_certain(
    name: str, one: Any, two: Any, aggregation: str, clusters: str
) -> None:
    found = paired(one, two, aggregation, CLUSTERS[clusters], draws=200)
    assert found.low < found.difference < found.high
    assert found.high - found.low > 0.1
    assert minimal_detectable_effect(found.standard_error) > 0.05


def test_the_error_belongs_to_the_limits() -> None:
    same = paired([0.5] * 20, [0.5] * 20)
    assert same.interval == "rule-of-three"
    assert same.standard_error * 1.959964 == pytest.approx(1 - 0.025 ** (1 / 20), rel=1e-6)
    none = paired([1.0] * 20, [1.0] * 20)
    # Bonett and Price add a document to each cell of those that differ.
    assert none.standard_error == pytest.approx(math.sqrt(2 / 22 / 22))
    one = paired([1.0] * 20, [0.0] + [1.0] * 19)
    assert one.standard_error > none.standard_error


def test_differences_of_unknown_range_are_unknown_where_all_agree() -> None:
    found = paired(np.full(8, 12.5), np.full(8, 12.0))
    assert found.interval == "none"
    assert math.isnan(found.standard_error)
