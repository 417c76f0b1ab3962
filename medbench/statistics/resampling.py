"""Seeded bootstrap and randomization, vectorized over draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from medbench.statistics.corpus import Floats
from medbench.statistics.sufficient import Sufficient

#: Default number of draws of a bootstrap or randomization test.
DRAWS = 10_000

# Cells of one block of weights: 2**17 doubles (1 MB) stay in a core's cache while they are filled and used.
_BLOCK_CELLS = 2**17
# Drawing a distinct row's weight costs about as much as drawing eight documents one by one.
_SHARED = 8
# Rows of classes are nearly empty; from about this width on the sparse product is faster.
_WIDE = 32


def bootstrap_values(score: Sufficient, *, seed: int = 0, draws: int = DRAWS) -> Floats:
    """Scores of resampled documents (or clusters: one row each).

    Returns:
        ``[draws]`` scores.
    """
    blocks = [score.finish(totals) for totals in bootstrap_totals(score.rows, seed=seed, draws=draws)]
    return np.concatenate(blocks)


def bootstrap_totals(rows: Any, *, seed: int = 0, draws: int = DRAWS) -> Iterator[Floats]:
    """Totals of the rows under the nonparametric bootstrap (Efron & Tibshirani 1993, ch. 6).

    A draw takes ``n`` of the ``n`` rows with replacement, so that its weights are multinomial. Rows that are
    equal are drawn together: the sum of multinomial weights is multinomial, and most corpora of counts
    have few distinct rows.

    Yields:
        ``[block, m]`` totals, ``draws`` rows in all.
    """
    rng = np.random.default_rng(seed)
    distinct, counts = _distinct(rows)
    n, u = rows.shape[0], len(counts)
    shared = _SHARED * u <= n
    if not shared and rows.shape[1] > _WIDE:
        rows = sparse.csr_array(rows)
    for size in _blocks(draws, max(u if shared else n, rows.shape[1])):
        if shared:
            yield rng.multinomial(n, counts / n, size=size).astype(np.float64) @ distinct
        else:
            # One histogram for the whole block: draw d counts in the bins d*n … d*n + n - 1.
            picks = rng.integers(0, n, size=(size, n), dtype=np.intp)
            picks += np.arange(size)[:, None] * n
            weights = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
            yield weights @ rows


def swap_totals(first: Any, second: Any, *, seed: int = 0, draws: int = DRAWS) -> Iterator[Floats]:
    """Totals of two systems' rows after swapping them at random, document by document.

    The approximate randomization of Noreen (1989); Yeh (2000, "More accurate tests for the statistical
    significance of result differences") brought it to F1.

    Args:
        first: ``[n, m]`` rows of one system.
        second: ``[n, m]`` rows of the other, of the same documents.
        seed: Seed of the draws.
        draws: Number of random swaps of the whole corpus.

    Yields:
        ``[block, m]`` totals of what then stands on the first side; the other side holds the rest.
    """
    rng = np.random.default_rng(seed)
    base = first.sum(axis=0)
    change = second - first
    change = change[np.flatnonzero(abs(change).sum(axis=1))]
    n = change.shape[0]
    distinct, counts = _distinct(change)
    shared = _SHARED * len(counts) <= n
    for size in _blocks(draws, max(len(counts) if shared else n, len(base))):
        if shared:
            swapped = rng.binomial(counts, 0.5, size=(size, len(counts)))
            yield base + swapped.astype(np.float64) @ distinct
        else:
            bits = np.unpackbits(np.frombuffer(rng.bytes(size * (n // 8 + 1)), dtype=np.uint8))
            yield base + bits.reshape(size, -1)[:, :n].astype(np.float64) @ change


def _distinct(rows: Any) -> tuple[Any, NDArray[np.int64]]:
    if sparse.issparse(rows) or not rows.shape[0]:
        return rows, np.ones(rows.shape[0], dtype=np.int64)
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    return distinct, counts.astype(np.int64)


def _blocks(draws: int, width: int) -> Iterator[int]:
    block = max(1, _BLOCK_CELLS // max(1, width))
    while draws > 0:
        yield min(block, draws)
        draws -= block
