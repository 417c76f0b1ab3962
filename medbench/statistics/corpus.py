"""lm-eval's corpus scores as functions of sums over documents.

All of its registered aggregations but the median depend on their documents through sums alone: of
log-likelihoods and lengths, of squared errors, of matched n-grams (those of classes are in
:mod:`medbench.statistics.sufficient`). Rows of these sums make intervals and paired tests as cheap as those
of a mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medbench.errors import StatisticsError

#: Real numbers, of any shape.
Floats = NDArray[np.float64]

#: Of a reference and a predicted text, each document compared with sacreBLEU.
TEXT_AGGREGATIONS = ("bleu", "chrf", "chrf++", "ter")
#: Names under which lm-eval registers these aggregations.
CORPUS_AGGREGATIONS = (
    "nanmean",
    "perplexity",
    "weighted_perplexity",
    "bits_per_byte",
    "brier_score",
    *TEXT_AGGREGATIONS,
)


class CorpusRows(NamedTuple):
    """Sufficient statistics.

    Attributes:
        rows: ``[n, m]`` statistics of each document.
        finish: Maps totals ``[..., m]`` to scores ``[...]``.
    """

    rows: Floats
    finish: Callable[[Floats], Floats]


def corpus_rows(data: Any, aggregation: str) -> CorpusRows:
    """Rows whose sums give the score that lm-eval's aggregation gives.

    Args:
        data: A value per document, as the metric hands it to the aggregation: a number for ``nanmean`` and
            ``perplexity``; (log-likelihood, length) for ``weighted_perplexity`` and ``bits_per_byte``;
            (class, probabilities) for ``brier_score``; (reference or references, text) for the others.
        aggregation: One of :data:`CORPUS_AGGREGATIONS`.

    Raises:
        StatisticsError: The values have another form or are not finite.
    """
    items = list(data)
    if not items:
        raise StatisticsError(f"{aggregation} needs one or more documents")
    try:
        found = _BUILDERS[aggregation](items)
    except (TypeError, ValueError, IndexError) as error:
        raise StatisticsError(f"{aggregation} was given values of another form: {error}") from error
    if not np.isfinite(found.rows).all():
        raise StatisticsError(f"{aggregation} was given values that are not finite")
    return found


def _nanmean(items: Sequence[Any]) -> CorpusRows:
    values = _numbers(items)
    counted = ~np.isnan(values)
    return CorpusRows(np.column_stack([np.where(counted, values, 0.0), counted.astype(np.float64)]), _ratio)


def _perplexity(items: Sequence[Any]) -> CorpusRows:
    values = _numbers(items)
    return CorpusRows(np.column_stack([values, np.ones_like(values)]), _exponential)


def _weighted(finish: Callable[[Floats], Floats]) -> Callable[[Sequence[Any]], CorpusRows]:
    def build(items: Sequence[Any]) -> CorpusRows:
        return CorpusRows(np.array([(float(sum_), float(size)) for sum_, size in items]), finish)

    return build


def _brier(items: Sequence[Any]) -> CorpusRows:
    probabilities = np.array([row for _, row in items], dtype=np.float64)
    right = np.eye(probabilities.shape[1])[[int(gold) for gold, _ in items]]
    errors = ((probabilities - right) ** 2).sum(axis=1)
    return CorpusRows(np.column_stack([errors, np.ones_like(errors)]), _ratio)


def _text(aggregation: str) -> Callable[[Sequence[Any]], CorpusRows]:
    def build(items: Sequence[Any]) -> CorpusRows:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
        from sacrebleu.metrics.ter import TER

        makers: dict[str, Callable[[], Any]] = {
            "bleu": BLEU,
            "chrf": CHRF,
            "chrf++": lambda: CHRF(word_order=2),
            "ter": TER,
        }
        metric = makers[aggregation]()
        references = [[pair[0]] if isinstance(pair[0], str) else list(pair[0]) for pair in items]
        texts = [pair[1] if isinstance(pair[1], str) else pair[1][0] for pair in items]
        rows = metric._extract_corpus_statistics(texts, list(zip(*references, strict=True)))

        def finish(totals: Floats) -> Floats:
            flat = totals.reshape(-1, totals.shape[-1]).tolist()
            scores = [metric._compute_score_from_stats(stats).score for stats in flat]
            return np.array(scores, dtype=np.float64).reshape(totals.shape[:-1])

        return CorpusRows(np.array(rows, dtype=np.float64), finish)

    return build


def _numbers(items: Sequence[Any]) -> Floats:
    values = np.array([float(value) for value in items], dtype=np.float64)
    if np.isinf(values).any():
        raise ValueError("some are infinite")
    return values


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _ratio(totals: Floats) -> Floats:
    return _divide(totals[..., 0], totals[..., 1])


def _exponential(totals: Floats) -> Floats:
    with np.errstate(over="ignore"):  # a hopeless model's perplexity is infinite
        return np.asarray(np.exp(-_ratio(totals)))


def _bits(totals: Floats) -> Floats:
    return -_ratio(totals) / math.log(2)


_BUILDERS: dict[str, Callable[[Sequence[Any]], CorpusRows]] = {
    "nanmean": _nanmean,
    "perplexity": _perplexity,
    "weighted_perplexity": _weighted(_exponential),
    "bits_per_byte": _weighted(_bits),
    "brier_score": _brier,
    **{name: _text(name) for name in TEXT_AGGREGATIONS},
}
