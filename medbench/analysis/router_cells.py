"""Router counts as arrays: a cell per group of tokens, an axis over experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.errors import AnalysisError

__all__ = ["CELL_KEYS", "Cells", "cells", "recorded"]

Floats = NDArray[np.float64]

#: What tells the groups of ``routing.parquet`` apart, the expert aside.
CELL_KEYS = ("model", "run", "task", "document", "phase", "layer", "projection")

_PER_EXPERT = ("count", "mass", "top1", "prob")
_PER_GROUP = ("tokens", "entropy", "near_ties")


@dataclass(frozen=True)
class Cells:
    """Sums over the tokens of G groups; all of them add up when groups are merged.

    Attributes:
        keys: ``G`` rows that say which tokens each group holds.
        experts: ``[G]`` number of experts of the router.
        tokens: ``[G]`` tokens.
        entropy: ``[G]`` summed entropies of the tokens' router distributions, in nats.
        near_ties: ``[G]`` tokens whose ranks k and k + 1 nearly tied.
        count: ``[G, E]`` tokens that chose each expert; zero beyond the router's own experts.
        mass: ``[G, E]`` summed gate weights.
        top1: ``[G, E]`` tokens that ranked the expert first.
        prob: ``[G, E]`` summed probabilities.
        coactive: ``[G, E, E]`` tokens that chose both experts.
    """

    keys: pd.DataFrame
    experts: NDArray[np.int64]
    tokens: Floats
    entropy: Floats
    near_ties: Floats
    count: Floats
    mass: Floats
    top1: Floats
    prob: Floats
    coactive: Floats

    @property
    def top_k(self) -> Floats:
        """``[G]`` experts chosen per token."""
        unknown: Floats = np.full(len(self.tokens), np.nan)
        np.divide(self.count.sum(axis=1), self.tokens, out=unknown, where=self.tokens > 0)
        return unknown

    def merge(self, by: Sequence[str]) -> Cells:
        """Add up the groups that agree in the columns ``by``.

        Raises:
            AnalysisError: Routers of different sizes would be added up.
        """
        grouped = self.keys.groupby(list(by), observed=True, sort=True, dropna=False)
        codes = grouped.ngroup().to_numpy()
        size = int(codes.max()) + 1 if len(codes) else 0
        first = np.full(size, -1)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        experts = self.experts[first]
        if (experts[codes] != self.experts).any():
            raise AnalysisError(
                "routers with different numbers of experts cannot be added up",
                hint="keep the columns model and layer in the grouping",
            )

        def add(values: Floats) -> Floats:
            total = np.zeros((size, *values.shape[1:]))
            np.add.at(total, codes, values)
            return total

        return Cells(
            keys=self.keys.iloc[first][list(by)].reset_index(drop=True),
            experts=experts,
            **{name: add(getattr(self, name)) for name in (*_PER_GROUP, *_PER_EXPERT, "coactive")},
        )

    def select(self, keep: NDArray[np.bool_]) -> Cells:
        """Keep some groups."""
        return Cells(
            keys=self.keys[keep].reset_index(drop=True),
            experts=self.experts[keep],
            **{name: getattr(self, name)[keep] for name in (*_PER_GROUP, *_PER_EXPERT, "coactive")},
        )


def recorded(frame: pd.DataFrame, phase: str | None = None) -> pd.DataFrame:
    """The rows of ``runs.routing()``, or those of one phase.

    Raises:
        AnalysisError: There are none.
    """
    if frame.empty:
        raise AnalysisError(
            "there is no routing to analyse", hint="only models with routers record any, unless --routing off"
        )
    if phase is None:
        return frame
    chosen = frame[frame["phase"] == phase]
    if chosen.empty:
        raise AnalysisError(
            f"no routing of a phase {phase!r} was recorded",
            hint=f"there are {' and '.join(sorted(frame['phase'].astype(str).unique()))}",
        )
    return chosen


def cells(frame: pd.DataFrame) -> Cells:
    """Arrange ``runs.routing()`` (or one ``routing.parquet``) as arrays.

    Where a task has rows of single documents as well as of all of them (document -1), the former are kept:
    they add up to the latter and can be resampled.

    Raises:
        AnalysisError: There are no rows, or columns are missing.
    """
    frame = recorded(frame)
    frame = frame.assign(**{name: "" for name in ("model", "run") if name not in frame})
    missing = {*CELL_KEYS, "expert", *_PER_EXPERT, *_PER_GROUP, "coactive"} - set(frame.columns)
    if missing:
        raise AnalysisError(f"the routing table lacks the columns {sorted(missing)}")
    detailed = frame.groupby(["model", "run", "task"], observed=True)["document"].transform("max") >= 0
    frame = frame[~detailed | (frame["document"] >= 0)]
    grouped = frame.groupby(list(CELL_KEYS), observed=True, sort=True)
    codes = grouped.ngroup().to_numpy()
    expert = frame["expert"].to_numpy().astype(np.intp)
    size, width = int(codes.max()) + 1, int(expert.max()) + 1
    first = np.full(size, -1)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    experts = np.zeros(size, dtype=np.int64)
    np.maximum.at(experts, codes, expert + 1)

    def spread(name: str) -> Floats:
        values = np.zeros((size, width))
        values[codes, expert] = frame[name].to_numpy()
        return values

    together = np.zeros((size, width, width))
    rows = frame["coactive"].to_numpy()
    lengths = np.array([len(row) for row in rows])
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        together[codes[chosen], expert[chosen], :length] = np.stack(list(rows[chosen]))[:, :width]
    return Cells(
        keys=frame.iloc[first][list(CELL_KEYS)].reset_index(drop=True),
        experts=experts,
        **{name: frame[name].to_numpy()[first].astype(np.float64) for name in _PER_GROUP},
        **{name: spread(name) for name in _PER_EXPERT},
        coactive=together,
    )
