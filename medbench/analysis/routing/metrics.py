"""Formulas of routing analysis on arrays whose last axis runs over experts.

T tokens, E experts, k chosen per token, n_i tokens that chose expert i, f_i = n_i / (T k), p_t the router's
distribution over all experts. Entropies are in nats. Every formula comes with its chance level, which is what
a router that ignores its input and treats all experts alike would give.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.statistics.corpus import Floats


def load_share(count: Any) -> Floats:
    """f_i, the share of all choices that each expert received; chance 1 / E. NaN without tokens.

    Args:
        count: ``[..., E]`` choices.
    """
    counts = np.asarray(count, dtype=np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    share: Floats = np.full(counts.shape, np.nan)
    np.divide(counts, total, out=share, where=total > 0)
    return share


def entropy(distribution: Any) -> Floats:
    """H(p) = -Σ p ln p, with 0 ln 0 = 0."""
    p = np.asarray(distribution, dtype=np.float64)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    found: Floats = np.asarray(-(p * logs).sum(axis=-1))
    return found


def load_entropy(count: Any, experts: Any) -> Floats:
    """H(f) / ln E, from 0 (one expert does everything) to 1 (all alike, which is chance)."""
    found: Floats = entropy(load_share(count)) / np.log(np.asarray(experts, dtype=np.float64))
    return found


def effective_experts(count: Any) -> Floats:
    """Exp H(f), the number of equally used experts with that entropy; chance E."""
    found: Floats = np.exp(entropy(load_share(count)))
    return found


def mutual_information(prob: Any, entropy_sum: Any, tokens: Any) -> Floats:
    """H(mean_t p_t) - mean_t H(p_t): what the token says about the expert; chance 0, at most ln E.

    Args:
        prob: ``[..., E]`` summed probabilities of the tokens.
        entropy_sum: ``[...]`` summed entropies of the tokens.
        tokens: ``[...]`` tokens.
    """
    size = np.asarray(tokens, dtype=np.float64)
    safe = np.where(size > 0, size, np.nan)
    found: Floats = entropy(np.asarray(prob, dtype=np.float64) / safe[..., None]) - entropy_sum / safe
    return found


def max_violation(count: Any, experts: Any) -> Floats:
    """max_i n_i / mean n - 1: how far the busiest expert lies above an equal load; chance 0."""
    found: Floats = load_share(count).max(axis=-1) * np.asarray(experts, dtype=np.float64) - 1
    return found


def dead_experts(count: Any, experts: Any) -> NDArray[np.int64]:
    """Number of experts that no token chose; chance 0.

    Args:
        count: ``[..., E']`` choices, E' at least the number of experts.
        experts: ``[...]`` number of experts.
    """
    counts = np.asarray(count)
    within = np.arange(counts.shape[-1]) < np.asarray(experts)[..., None]
    found: NDArray[np.int64] = ((counts == 0) & within).sum(axis=-1)
    return found


def coactivation(together: Any) -> Floats:
    """N_ij / N_i: of the tokens that chose i, the share that chose j too; NaN on the diagonal.

    All pairs of the chosen set count, not only neighbors in rank.

    Args:
        together: ``[..., E, E]`` tokens that chose both; the diagonal holds N_i.
    """
    counts = np.asarray(together, dtype=np.float64)
    own = np.diagonal(counts, axis1=-2, axis2=-1)[..., None]
    share: Floats = np.full(counts.shape, np.nan)
    np.divide(counts, own, out=share, where=(own > 0) & ~np.eye(counts.shape[-1], dtype=bool))
    return share


def coactivation_chance(experts: Any, top_k: Any) -> Floats:
    """(k - 1) / (E - 1)."""
    found: Floats = (np.asarray(top_k, dtype=np.float64) - 1) / (np.asarray(experts, dtype=np.float64) - 1)
    return found


def jensen_shannon_similarity(first: Any, second: Any) -> Floats:
    """1 - JSD in bits (Lin 1991): 1 for equal loads, 0 for loads without a common expert.

    Args:
        first: ``[..., E]`` distribution.
        second: ``[..., E]`` distribution.
    """
    one, two = (np.asarray(p, dtype=np.float64) for p in (first, second))
    divergence = entropy((one + two) / 2) - (entropy(one) + entropy(two)) / 2
    found: Floats = 1 - np.clip(divergence / np.log(2), 0, 1)
    return np.where(np.isnan(one).any(axis=-1) | np.isnan(two).any(axis=-1), np.nan, found)
