"""Corpus scores, with their values written out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.scoring import aggregation


def test_counts_are_pooled_before_dividing() -> None:
    values = [(3, 1, 0), (0, 0, 4), (1, 0, 0)]
    assert aggregation.micro_precision(values) == pytest.approx(4 / 5)
    assert aggregation.micro_recall(values) == pytest.approx(4 / 8)
    assert aggregation.micro_f1(values) == pytest.approx(8 / 13)


def test_without_a_true_positive_all_are_zero() -> None:
    for name in ("micro_f1", "micro_precision", "micro_recall"):
        assert getattr(aggregation, name)([(0, 0, 0), (0, 2, 0)]) == 0.0


def test_macro_counts_labels_that_only_predictions_have() -> None:
    values = [("a", "a"), ("a", "c"), ("b", "b")]
    assert aggregation.macro_f1(values) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert aggregation.weighted_f1(values) == pytest.approx((2 * 2 / 3 + 1) / 3)
    assert aggregation.weighted_recall(values) == pytest.approx(2 / 3)
    assert aggregation.macro_precision(values) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", aggregation.__all__)
def test_an_empty_corpus_scores_zero(name: str) -> None:
    assert getattr(aggregation, name)([]) == 0.0
    assert getattr(aggregation, name).__name__ == name


_LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(_LABELS, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(values: list[tuple[str, str]], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for name in ("macro_f1", "weighted_f1"):
        function = getattr(aggregation, name)
        assert function(values) == pytest.approx(function(shuffled))


def test_importing_scoring_is_light() -> None:
    script = (
        "import sys, medbench.scoring.exams, medbench.scoring.promptcblue, medbench.scoring.aggregation;"
        "heavy = {'torch', 'transformers', 'sklearn', 'nltk', 'pandas', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
