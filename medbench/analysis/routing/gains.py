"""Do tasks that share experts share gains? Routing beside the scores of two checkpoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medbench.analysis.routing.summary import task_similarity
from medbench.analysis.routing.tables import NotRecordedError
from medbench.analysis.runs import Run, Runs, single_run
from medbench.analysis.units import with_units
from medbench.statistics.corpus import Floats

_FEWEST = 4


class SharedGains(NamedTuple):
    """Whether tasks that share experts gained alike between two checkpoints.

    Attributes:
        pairs: A row per pair of tasks: ``task``, ``other``, ``similarity`` of their loads, their ``gain`` and
            ``gain_other`` (later minus earlier score; signs turned where lower is better), and ``apart``, the
            distance of the two gains.
        correlation: Of ``similarity`` with the negative of ``apart`` over the pairs: positive if tasks that
            share experts share gains; chance 0. NaN if all gains are equal.
        p_value: Two-sided, by Mantel's test (Mantel 1967): the gains are dealt out anew among the tasks.
        tasks: Number of tasks compared.
    """

    pairs: pd.DataFrame
    correlation: float
    p_value: float
    tasks: int


def shared_gains(
    later: Run | Runs,
    earlier: Run | Runs,
    *,
    phase: str | None = None,
    seed: int = 0,
    draws: int = 2_000,
) -> SharedGains:
    """Compare how tasks share experts with how they gained from one checkpoint to another.

    Tasks whose score is no share, such as a perplexity, are left out.

    Args:
        later: The one run of the checkpoint whose routing counts.
        earlier: That of the other checkpoint on the same tasks; its routing is not used.
        phase: Only the routing of tokens of this phase.
        seed: Seed of the permutations.
        draws: How many.

    Raises:
        AnalysisError: One of them is several runs.
        NotRecordedError: There is no routing, or fewer than four tasks have a share as their score in both
            runs.
    """
    later, earlier = single_run(later), single_run(earlier)
    frame = later.routing(most=0)  # documents are not asked for
    if frame.empty:
        raise NotRecordedError("no routing was recorded", where=str(later.path))
    gains = _gains(later, earlier)
    frame = frame[frame["task"].astype(str).isin(list(gains.index))]
    names = sorted(frame["task"].astype(str).unique())
    if len(names) < _FEWEST:
        raise NotRecordedError(
            f"{len(names)} tasks were scored in both runs; at least {_FEWEST} are needed",
            where=str(earlier.path),
        )
    # Intervals are not asked for: one draw is as good as none.
    found = task_similarity(frame, phase=phase, seed=seed, draws=1)
    pairs = found.loc[found["task"] != found["other"], ["task", "other", "similarity"]]
    pairs = pairs.reset_index(drop=True)
    first, second = (np.searchsorted(names, pairs[side].to_numpy(dtype=str)) for side in ("task", "other"))
    gain = gains.loc[names].to_numpy(dtype=np.float64)
    similarity = pairs["similarity"].to_numpy(dtype=np.float64)
    rng = np.random.default_rng(seed)
    orders = np.vstack([np.arange(len(names)), *(rng.permutation(len(names)) for _ in range(draws))])
    dealt = gain[orders]
    apart = np.abs(dealt[:, first] - dealt[:, second])
    r = _correlations(similarity, -apart)
    p = float((np.abs(r[1:]) >= abs(r[0]) - 1e-12).sum() + 1) / (draws + 1)
    return SharedGains(
        pairs.assign(gain=gain[first], gain_other=gain[second], apart=apart[0]),
        float(r[0]),
        float("nan") if np.isnan(r[0]) else p,
        len(names),
    )


def _gains(later: Run, earlier: Run) -> pd.Series[Any]:
    sides = []
    for run in (later, earlier):
        scores = with_units(run.tables.scores().to_pandas())
        main = (scores["kind"] == "task") & scores["main"] & scores["value"].notna()
        # Gains on another scale than the rest would be near to none of them.
        chosen = scores[main & (scores["unit"] == "share")]
        sign = np.where(chosen["higher_is_better"].astype(bool), 1.0, -1.0)
        names = pd.Index(chosen["task"].astype(str) + "\n" + chosen["metric"].astype(str))
        sides.append(pd.Series(chosen["value"].to_numpy(dtype=np.float64) * sign, index=names))
    gains = (sides[0] - sides[1]).dropna()
    gains.index = gains.index.str.partition("\n").get_level_values(0)
    return gains


def _correlations(x: Floats, rows: Floats) -> Floats:
    """Pearson's r of x with every row, NaN where nothing varies."""
    one, two = x - x.mean(), rows - rows.mean(axis=1, keepdims=True)
    spread = np.sqrt((one**2).sum() * (two**2).sum(axis=1))
    r: Floats = np.full(len(rows), np.nan)
    np.divide(two @ one, spread, out=r, where=spread > 1e-12)
    return r
