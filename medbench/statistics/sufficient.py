"""Scores as functions of sums over documents.

Every score here is ``finish(sum of one row per document)``. Resampling documents, dropping clusters of them
and swapping two systems' answers then are matrix products of weights with the rows, whatever the metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from medbench.errors import StatisticsError
from medbench.statistics.corpus import CORPUS_AGGREGATIONS, Floats, corpus_rows

# A model that answers in free text makes thousands of classes; wider rows than this are kept sparse.
_DENSE_CELLS = 2_000_000

COUNT_AGGREGATIONS = ("micro_f1", "micro_precision", "micro_recall")
LABEL_AGGREGATIONS = (
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "weighted_f1",
    "weighted_precision",
    "weighted_recall",
    # lm-eval's: F1 of the class 1, and Matthews' correlation.
    "f1",
    "matthews_corrcoef",
)
#: Those that are shares of documents, classes or mentions, from 0 to 1.
BOUNDED_AGGREGATIONS = (
    *COUNT_AGGREGATIONS,
    *(name for name in LABEL_AGGREGATIONS if name.endswith(("f1", "precision", "recall"))),
)
#: All aggregations with intervals and paired tests.
AGGREGATIONS = ("mean", *COUNT_AGGREGATIONS, *LABEL_AGGREGATIONS, *CORPUS_AGGREGATIONS)


@dataclass(frozen=True)
class Sufficient:
    """Rows whose sum over documents determines a score.

    Attributes:
        rows: ``[documents, m]`` sufficient statistics of each document, an array or a sparse CSR array.
        finish: Maps totals ``[..., m]`` to scores ``[...]``.
    """

    rows: Any
    finish: Callable[[Floats], Floats]

    @property
    def value(self) -> float:
        """The score over all documents."""
        return float(self.finish(self.rows.sum(axis=0)))

    def by_cluster(self, codes: NDArray[np.intp]) -> Sufficient:
        """Sum the rows of each cluster.

        Args:
            codes: ``[documents]`` cluster of each document, 0 … clusters - 1.
        """
        n = len(codes)
        member = sparse.csr_array((np.ones(n), (codes, np.arange(n))), shape=(int(codes.max()) + 1, n))
        return Sufficient(member @ self.rows, self.finish)


def sufficient(data: Any, aggregation: str, labels: Sequence[str] | None = None) -> Sufficient:
    """Reduce per-document results to rows that add up.

    Args:
        data: ``[n]`` numbers for ``mean``, ``[n, 3]`` (tp, fp, fn) for ``micro_*``, ``[n, 2]`` labels
            (gold, predicted) for :data:`LABEL_AGGREGATIONS`; lm-eval's own aggregations take what its
            metrics give (:func:`medbench.statistics.corpus.corpus_rows`).
        aggregation: One of :data:`AGGREGATIONS`.
        labels: The classes of the columns, so that two systems' rows fit together; by default those seen.

    Raises:
        StatisticsError: The aggregation is unknown, there are no documents, or the data have another shape.
    """
    if aggregation == "mean":
        values = _numeric(data, aggregation, columns=None)
        return Sufficient(np.column_stack([values, np.ones_like(values)]), _finish_mean)
    if aggregation in COUNT_AGGREGATIONS:
        return Sufficient(_numeric(data, aggregation, columns=3), _COUNT_FINISH[aggregation])
    if aggregation in LABEL_AGGREGATIONS:
        return _label_rows(data, aggregation, labels)
    if aggregation in CORPUS_AGGREGATIONS:
        return Sufficient(*corpus_rows(data, aggregation))
    raise StatisticsError(
        f"the aggregation {aggregation!r} is no function of sums over documents",
        hint=f"such are {', '.join(AGGREGATIONS)}; others can be resampled as they are",
    )


def cluster_codes(clusters: Sequence[Any] | NDArray[Any] | None, n: int) -> NDArray[np.intp] | None:
    """Number the clusters of documents.

    Returns:
        ``[n]`` codes, or ``None`` when every document is a cluster of its own.

    Raises:
        StatisticsError: There is not one cluster per document.
    """
    if clusters is None:
        return None
    keys = np.asarray(clusters, dtype=object)
    if keys.shape != (n,):
        raise StatisticsError(f"{keys.size} clusters were given for {n} documents")
    seen: dict[Any, int] = {}
    codes = np.fromiter((seen.setdefault(key, len(seen)) for key in keys), dtype=np.intp, count=n)
    return None if len(seen) == n else codes


def _numeric(data: Any, aggregation: str, columns: int | None) -> Floats:
    array = np.asarray(data, dtype=np.float64)
    expected = "a number" if columns is None else f"{columns} numbers"
    fits = array.ndim == 1 if columns is None else array.ndim == 2 and array.shape[1] == columns
    if array.size == 0 or not fits:
        raise StatisticsError(
            f"{aggregation} needs {expected} for each of one or more documents; got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise StatisticsError(f"{aggregation} was given values that are not finite")
    return array


def _label_rows(data: Any, aggregation: str, labels: Sequence[str] | None) -> Sufficient:
    pairs = np.asarray(data, dtype=object)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise StatisticsError(
            f"{aggregation} needs (gold, predicted) for one or more documents; got shape {pairs.shape}"
        )
    try:
        names = list(dict.fromkeys(labels if labels is not None else pairs.ravel().tolist()))
        column = {name: i for i, name in enumerate(names)}
        gold = np.array([column[name] for name in pairs[:, 0]])
        predicted = np.array([column[name] for name in pairs[:, 1]])
    except KeyError as error:
        raise StatisticsError(f"the label {error.args[0]!r} is not among those given") from error
    except TypeError as error:
        raise StatisticsError(f"{aggregation} was given labels that are no single values: {error}") from error
    n, k = len(pairs), len(names)
    hits = np.flatnonzero(gold == predicted)
    row = np.concatenate([hits, np.arange(n), np.arange(n)])
    col = np.concatenate([gold[hits], k + gold, 2 * k + predicted])
    rows = sparse.csr_array((np.ones(len(row)), (row, col)), shape=(n, 3 * k))
    dense = n * 3 * k <= _DENSE_CELLS
    return Sufficient(rows.toarray() if dense else rows, _label_finish(aggregation, names))


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _finish_mean(totals: Floats) -> Floats:
    return _divide(totals[..., 0], totals[..., 1])


def _finish_micro_f1(totals: Floats) -> Floats:
    return _divide(2 * totals[..., 0], 2 * totals[..., 0] + totals[..., 1] + totals[..., 2])


def _finish_precision(totals: Floats) -> Floats:
    return _divide(totals[..., 0], totals[..., 0] + totals[..., 1])


def _finish_recall(totals: Floats) -> Floats:
    return _divide(totals[..., 0], totals[..., 0] + totals[..., 2])


def _by_class(score: str, weighted: bool) -> Callable[[Floats], Floats]:
    """Scores of the classes, averaged over them as scikit-learn does."""

    def finish(totals: Floats) -> Floats:
        hits, gold, predicted = np.split(totals, 3, axis=-1)
        if score == "f1":
            each = _divide(2 * hits, gold + predicted)
        else:
            each = _divide(hits, predicted if score == "precision" else gold)
        if weighted:
            return _divide((each * gold).sum(axis=-1), gold.sum(axis=-1))
        # A class that neither side mentions does not count in this sample.
        present = ((gold + predicted) > 0).sum(axis=-1).astype(np.float64)
        return _divide(each.sum(axis=-1), present)

    return finish


def _positive_f1(positive: int | None) -> Callable[[Floats], Floats]:
    """F1 of one class; 0 for a class that never occurs."""

    def finish(totals: Floats) -> Floats:
        hits, gold, predicted = np.split(totals, 3, axis=-1)
        if positive is None:
            return np.zeros(totals.shape[:-1])
        return _divide(2 * hits[..., positive], gold[..., positive] + predicted[..., positive])

    return finish


def _correlation(totals: Floats) -> Floats:
    """Matthews' correlation of any number of classes (Gorodkin 2004); 0 where one side names one class."""
    hits, gold, predicted = np.split(totals, 3, axis=-1)
    n = gold.sum(axis=-1)
    spread = (n**2 - (gold**2).sum(axis=-1)) * (n**2 - (predicted**2).sum(axis=-1))
    return _divide(hits.sum(axis=-1) * n - (gold * predicted).sum(axis=-1), np.sqrt(np.maximum(spread, 0.0)))


def _label_finish(aggregation: str, names: Sequence[Any]) -> Callable[[Floats], Floats]:
    if aggregation == "matthews_corrcoef":
        return _correlation
    if aggregation == "f1":
        return _positive_f1(names.index(1) if 1 in names else None)
    average, _, score = aggregation.partition("_")
    return _by_class(score, weighted=average == "weighted")


_COUNT_FINISH = {
    "micro_f1": _finish_micro_f1,
    "micro_precision": _finish_precision,
    "micro_recall": _finish_recall,
}
