"""Router counts as arrays: a cell per group of tokens, an axis over experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.analysis.routing.tables import (
    CELL_KEYS,
    DAMAGED,
    PER_EXPERT,
    PER_GROUP,
    place,
    recorded,
    routing_table,
    without_totals,
)
from medbench.errors import AnalysisError
from medbench.runs.routing import RouterSums, find_violation
from medbench.statistics.corpus import Floats

Codes = NDArray[np.intp]

_SUMS = (*PER_GROUP, *PER_EXPERT, "coactive")


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
        """``[G]`` experts chosen per token; NaN without tokens."""
        unknown: Floats = np.full(len(self.tokens), np.nan)
        np.divide(self.count.sum(axis=1), self.tokens, out=unknown, where=self.tokens > 0)
        return unknown

    @property
    def used(self) -> Floats:
        """``[G, E]`` how much each expert served: tokens that chose it.

        Where every token chooses all experts (k = E, a dense gate) choices tell nothing: there it is the
        weight that tokens gave it.
        """
        return np.where(self._dense[:, None], self.mass, self.count)

    @property
    def per_token(self) -> Floats:
        """``[G]`` what ``used`` adds up to over the experts for each token: k, or 1 with a dense gate."""
        return np.where(self._dense, 1.0, self.top_k)

    @property
    def _dense(self) -> NDArray[np.bool_]:
        dense: NDArray[np.bool_] = self.top_k == self.experts
        return dense

    def shape(self) -> tuple[int, int]:
        """Experts E of every router, and how many of them, k, each token chooses.

        Raises:
            AnalysisError: Routers differ in that.
        """
        _check_shapes(self, np.zeros(len(self.keys), np.intp), "compared")
        top_k = self.top_k[self.tokens > 0]
        return int(self.experts[0]), round(float(top_k[0])) if len(top_k) else 0

    def merge(self, by: Sequence[str]) -> Cells:
        """Add up the groups that agree in the columns ``by``.

        Raises:
            AnalysisError: Routers of different shapes would be added up.
        """
        codes = _codes(self.keys, by)
        _check_shapes(self, codes, "added up")
        first = _first(codes)
        return Cells(
            keys=self.keys.iloc[first][list(by)].reset_index(drop=True),
            experts=self.experts[first],
            **{name: _add(codes, len(first), getattr(self, name)) for name in _SUMS},
        ).checked()

    def named(self, model: str) -> Cells:
        """The cells of one run under another name of the model."""
        return replace(self, keys=self.keys.assign(model=model, run=""))

    def select(self, keep: NDArray[np.bool_]) -> Cells:
        """Keep some groups."""
        return Cells(
            keys=self.keys[keep].reset_index(drop=True),
            experts=self.experts[keep],
            **{name: getattr(self, name)[keep] for name in _SUMS},
        )

    def checked(self) -> Cells:
        """These very cells, if they can be sums over tokens.

        Raises:
            AnalysisError: They break what holds of all sums; the message names run and cell.
        """
        found = find_violation(RouterSums(self.experts, **{name: getattr(self, name) for name in _SUMS}))
        if found is not None:
            raise _impossible(found.what, self.keys.iloc[found.group])
        return self

    def to_frame(self) -> pd.DataFrame:
        """The rows of ``runs.routing()`` that :func:`cells` makes these cells of."""
        g, e = np.nonzero(np.arange(self.count.shape[1]) < self.experts[:, None])
        whole = {"tokens": self.tokens[g], "count": self.count[g, e], "top1": self.top1[g, e]}
        return (
            self.keys.iloc[g]
            .reset_index(drop=True)
            .assign(
                expert=e,
                **{name: values.astype(np.int64) for name, values in whole.items()},
                mass=self.mass[g, e],
                prob=self.prob[g, e],
                entropy=self.entropy[g],
                near_ties=self.near_ties[g],
                coactive=[
                    pairs[: self.experts[group]] for group, pairs in zip(g, self.coactive[g, e], strict=True)
                ],
            )
        )


def cells(frame: pd.DataFrame | Cells, phase: str | None = None) -> Cells:
    """Arrange ``runs.routing()`` (or one ``routing.parquet``) as arrays.

    Functions that take ``runs.routing()`` take its cells as well: whoever asks several of them arranges once.

    Rows that name the same cell and expert are added up: what belongs to a group of tokens once a group,
    not once a row. Where a task has rows of single documents as well as of all of them (document -1), the
    former are kept: they add up to the latter and can be resampled.

    Args:
        frame: The table, or cells, which are as they are.
        phase: Only tokens of this phase.

    Raises:
        AnalysisError: There are no rows, columns are missing, or the counts cannot be sums over tokens; the
            message names run and cell.
    """
    if isinstance(frame, Cells):
        kept = recorded(frame.keys, phase).index
        return frame if phase is None else frame.select(frame.keys.index.isin(kept))
    frame = without_totals(routing_table(recorded(frame, phase)))
    codes = _codes(frame, CELL_KEYS)
    first = _first(codes)
    keys = frame.iloc[first][list(CELL_KEYS)].reset_index(drop=True)
    expert = frame["expert"].to_numpy().astype(np.intp)
    lengths = _lengths(frame["coactive"], keys)
    experts = lengths[first]
    wrong = (lengths != experts[codes]) | (expert >= lengths) | (np.bincount(codes)[codes] < lengths)
    if wrong.any():
        group = keys.iloc[codes[np.argmax(wrong)]]
        raise _impossible("rows are missing, or of different numbers of experts", group)
    size, width = len(first), int(experts.max())
    flat = codes * width + expert

    def spread(values: Floats) -> Floats:
        return _add(flat, size * width, values).reshape(size, width, *values.shape[1:])

    columns = {
        name: spread(frame[name].to_numpy(dtype=np.float64, na_value=np.nan))
        for name in (*PER_GROUP, *PER_EXPERT)
    }
    inside = np.arange(width) < experts[:, None]
    for name in PER_GROUP:
        stated = columns[name]
        differs = inside & ~np.isclose(stated, stated[:, :1], rtol=1e-9, atol=0, equal_nan=True)
        if differs.any():
            group = int(np.argmax(differs.any(axis=1)))
            raise _impossible(f"the rows of its experts differ in {name}", keys.iloc[group])
        columns[name] = stated[:, 0]
    pairs = spread(_stacked(frame["coactive"], lengths, keys))
    found = Cells(keys=keys, experts=experts, **columns, coactive=pairs).checked()
    _check_routers(found)
    return found


def _lengths(rows: pd.Series[Any], keys: pd.DataFrame) -> NDArray[np.int64]:
    try:
        return np.fromiter(map(len, rows), np.int64, len(rows))
    except TypeError as error:
        raise _impossible("coactive holds no lists", keys.iloc[0][:2]) from error


def _stacked(rows: pd.Series[Any], lengths: NDArray[np.int64], keys: pd.DataFrame) -> Floats:
    """Lists of numbers as rows that are filled up with zeros."""
    stacked = np.zeros((len(rows), int(lengths.max())))
    try:
        stacked[np.arange(stacked.shape[1]) < lengths[:, None]] = np.concatenate(rows.tolist())
    except (TypeError, ValueError) as error:
        raise _impossible("coactive holds no lists of numbers", keys.iloc[0][:2]) from error
    return stacked


def _check_shapes(counted: Cells, codes: Codes, doing: str) -> None:
    """Refuse routers of different shapes in one group."""
    shapes: tuple[tuple[str, Floats], ...] = (
        ("numbers of experts", counted.experts.astype(np.float64)),
        ("numbers of experts chosen by a token", counted.top_k),
    )
    for what, values in shapes:
        ends = np.full((2, int(codes.max()) + 1), np.nan)
        np.fmin.at(ends[0], codes, values)
        np.fmax.at(ends[1], codes, values)
        differ = ends[0] < ends[1]
        if differ.any():
            group = counted.keys.iloc[int(np.argmax(codes == np.argmax(differ)))]
            raise AnalysisError(
                f"routers with different {what} cannot be {doing}",
                where=place(group),
                hint="keep models, runs and layers apart",
            )


def _check_routers(counted: Cells) -> None:
    """Refuse a run in which a router changes its shape, or has not seen every token.

    Every token passes all routers of a model, so that all of them count the same tokens of a text.
    """
    keys = counted.keys
    _check_shapes(counted, _codes(keys, ("model", "run", "layer", "projection")), "those of one run")
    texts = _codes(keys, ("model", "run", "task", "document", "phase"))
    run = _codes(keys, ("model", "run"))
    routers = keys.drop_duplicates(["model", "run", "layer", "projection"]).index
    expected = np.bincount(run[routers])
    first = _first(texts)
    wrong = counted.tokens != counted.tokens[first][texts]
    wrong |= np.bincount(texts)[texts] != expected[run]
    if wrong.any():
        raise _impossible("not all routers counted the same tokens", keys.iloc[int(np.argmax(wrong))])


def _codes(keys: pd.DataFrame, by: Sequence[str]) -> Codes:
    """The number of each row's group, by the order of the groups."""
    grouped = keys.groupby(list(by), observed=True, sort=True, dropna=False)
    return grouped.ngroup().to_numpy().astype(np.intp)


def _first(codes: Codes) -> Codes:
    """The first row of every group."""
    first = np.full(int(codes.max()) + 1 if len(codes) else 0, -1, np.intp)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return first


def _add(codes: Codes, groups: int, values: Floats) -> Floats:
    """Sums of the rows of each group: ``[rows, ...]`` to ``[groups, ...]``."""
    flat = values.reshape(len(values), -1)
    total = np.empty((groups, flat.shape[1]))
    for column in range(flat.shape[1]):
        total[:, column] = np.bincount(codes, flat[:, column], minlength=groups)
    return total.reshape(groups, *values.shape[1:])


def _impossible(what: str, key: pd.Series[Any]) -> AnalysisError:
    return AnalysisError(f"router counts do not add up: {what}", where=place(key), hint=DAMAGED)
