"""Made-up traces: texts of documents with choices drawn at random, or given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medbench.runs.traces import Traces

__all__ = ["make_traces"]


def make_traces(
    texts: Sequence[tuple[tuple[str, int], int, int, Sequence[int]]],
    *,
    experts: int = 4,
    k: int = 2,
    seed: int = 0,
    choice: Any = None,
    words: dict[int, str] | None = None,
    special: Sequence[int] = (),
) -> Traces:
    """Traces of two routers.

    Args:
        texts: For each piece its document, phase (0 or 1), place and tokens.
        experts: E.
        k: Experts per token.
        seed: Seed of the choices.
        choice: [T, k] choices of both routers, instead of random ones.
        words: Texts of the tokens; by default a Latin word each.
        special: Tokens that are marks.
    """
    tokens = [token for *_, ids in texts for token in ids]
    rng = np.random.default_rng(seed)
    drawn = np.argsort(rng.random((2, len(tokens), experts)), axis=2)[:, :, :k].astype(np.uint8)
    if choice is not None:
        drawn = np.broadcast_to(np.asarray(choice, np.uint8), drawn.shape).copy()
    weights = rng.dirichlet(np.ones(k), drawn.shape[:2])
    return Traces(
        model="m",
        routers=((0, "gate"), (0, "up")),
        num_experts=experts,
        documents=tuple(label for label, *_ in texts),
        phases=np.array([phase for _, phase, _, _ in texts], np.uint8),
        starts=np.array([start for _, _, start, _ in texts], np.int32),
        offsets=np.cumsum([0, *(len(ids) for *_, ids in texts)]).astype(np.int64),
        tokens=np.array(tokens, np.int32),
        choice=drawn,
        gate=np.rint(255 * weights).astype(np.uint8),
        texts=words if words is not None else {token: f"w{token}" for token in tokens},
        special=frozenset(special),
    )
