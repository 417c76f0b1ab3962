"""Corpus scores from per-document values.

Every function takes the values of all documents, as lm-eval hands them over, and returns one number. An
empty corpus scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "mean",
    "micro_f1",
    "micro_precision",
    "micro_recall",
    "weighted_f1",
    "weighted_precision",
    "weighted_recall",
]

Counts = Sequence[int]
"""``(tp, fp, fn)`` of one document."""

LabelPair = Sequence[str]
"""``(gold, predicted)`` of one document."""


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of one number per document."""
    return sum(values) / len(values) if values else 0.0


def micro_precision(values: Sequence[Counts]) -> float:
    """Precision over pooled counts, tp / (tp + fp); 0 without a true positive (PromptCBLUE's rule)."""
    tp, fp, _ = _pool(values)
    return tp / (tp + fp) if tp else 0.0


def micro_recall(values: Sequence[Counts]) -> float:
    """Recall over pooled counts, tp / (tp + fn); 0 without a true positive (PromptCBLUE's rule)."""
    tp, _, fn = _pool(values)
    return tp / (tp + fn) if tp else 0.0


def micro_f1(values: Sequence[Counts]) -> float:
    """F1 over pooled counts, 2 tp / (2 tp + fp + fn); 0 without a true positive (PromptCBLUE's rule)."""
    tp, fp, fn = _pool(values)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def macro_f1(values: Sequence[LabelPair]) -> float:
    """F1 averaged over the labels seen in gold or predictions, each label counting the same."""
    return _by_label("f1_score", "macro", values)


def macro_precision(values: Sequence[LabelPair]) -> float:
    """Precision averaged over the labels seen in gold or predictions."""
    return _by_label("precision_score", "macro", values)


def macro_recall(values: Sequence[LabelPair]) -> float:
    """Recall averaged over the labels seen in gold or predictions."""
    return _by_label("recall_score", "macro", values)


def weighted_f1(values: Sequence[LabelPair]) -> float:
    """F1 averaged over labels, each weighted by how many documents have it as gold."""
    return _by_label("f1_score", "weighted", values)


def weighted_precision(values: Sequence[LabelPair]) -> float:
    """Precision averaged over labels, each weighted by how many documents have it as gold."""
    return _by_label("precision_score", "weighted", values)


def weighted_recall(values: Sequence[LabelPair]) -> float:
    """Recall averaged over labels, each weighted by how many documents have it as gold (the accuracy)."""
    return _by_label("recall_score", "weighted", values)


def _pool(values: Sequence[Counts]) -> tuple[int, int, int]:
    return (
        sum(value[0] for value in values),
        sum(value[1] for value in values),
        sum(value[2] for value in values),
    )


def _by_label(score: str, average: str, values: Sequence[LabelPair]) -> float:
    if not values:
        return 0.0
    import sklearn.metrics

    gold = [value[0] for value in values]
    predicted = [value[1] for value in values]
    function: Callable[..., Any] = getattr(sklearn.metrics, score)
    return float(function(gold, predicted, average=average, zero_division=0))
