"""What scores lose when experts are taken away: paired differences from the intact model.

All functions take the documents that :func:`medbench.runs.ablation.ablate` writes, read by
:func:`read_ablation`. A difference is variant minus intact, so that a loss is negative; without an effect it
is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.analysis.kinds import kind_names
from medbench.analysis.runs import Run
from medbench.errors import AnalysisError, RunError
from medbench.runs.ablation import INTACT
from medbench.runs.directory import read_json
from medbench.statistics import document_scores, holm, paired, sufficient
from medbench.statistics.intervals import agreeing_interval, alike
from medbench.statistics.resampling import bootstrap_totals

#: What makes a kind of document in :func:`ablation_contrasts`.
KINDS = ("language", "family", "task")

_KEYS = ("variant", "task", "document", "cluster", "metric", "aggregation", "language", "family")
_VALUES = ("value", "counts", "labels")


def read_ablation(path: str | Path) -> pd.DataFrame:
    """Read ``documents.parquet`` of an ablation.

    Args:
        path: That file, or the folder it lies in.

    Raises:
        AnalysisError: There is no such file, or it is something else.
    """
    file = Path(path) / "documents.parquet" if Path(path).is_dir() else Path(path)
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise AnalysisError(
            f"the ablation cannot be read: {error}",
            where=str(file),
            hint="`medbench routing ablate` makes one",
        ) from error
    missing = {*_KEYS, *_VALUES, "higher_is_better"} - set(frame.columns)
    if missing or not (frame["variant"] == INTACT).any():
        raise AnalysisError(
            f"this is no ablation: it lacks {sorted(missing) or 'the intact model'}", where=str(file)
        )
    return frame


def find_ablations(run: Run) -> list[Path]:
    """The ablations of the very model of a run that lie beside it, oldest first."""
    found = []
    for file in run.path.parent.glob("ablation.*/ablation.json"):
        try:
            described = read_json(file)
        except RunError:
            continue  # half a folder is none; whoever asks for it by name is told
        known = isinstance(described, dict) and described.get("answer_identity")
        if (
            known
            and known == run.manifest.get("answer_identity")
            and (file.parent / "documents.parquet").exists()
        ):
            found.append((file.stat().st_mtime, file.parent))
    return [folder for _, folder in sorted(found)]


def ablation_effects(frame: pd.DataFrame, *, seed: int = 0, draws: int = 2_000) -> pd.DataFrame:
    """The change of each task's score in each variant.

    Args:
        frame: What :func:`read_ablation` gave.
        seed: Seed of bootstrap and randomization.
        draws: Their draws.

    Returns:
        A row per variant and task: ``score``, ``intact``, ``difference`` with ``low`` and ``high``,
        ``interval``, ``test``, ``p_value``, ``p_adjusted`` (Holm over all rows), ``wins``, ``losses``, ``n``.

    Raises:
        AnalysisError: A variant has other documents than the intact model.
    """
    rows = []
    for task, part in frame.groupby("task", sort=True):
        sides = {str(name): side.reset_index(drop=True) for name, side in part.groupby("variant", sort=False)}
        if INTACT not in sides:
            raise AnalysisError("the intact model was not scored", where=str(task))
        intact = sides.pop(INTACT)
        aggregation = str(intact["aggregation"].iloc[0])
        base = _values(intact)
        for variant, side in sides.items():
            _same_documents(intact, side, f"{variant}, {task}")
            mine = _values(side)
            found = paired(mine, base, aggregation, intact["cluster"].to_numpy(), seed=seed, draws=draws)
            rows.append(
                {
                    "variant": variant,
                    "task": task,
                    **{name: intact[name].iloc[0] for name in ("language", "family", "metric")},
                    "score": sufficient(mine, aggregation).value,
                    "intact": sufficient(base, aggregation).value,
                    "higher_is_better": bool(intact["higher_is_better"].iloc[0]),
                    **found._asdict(),
                }
            )
    if not rows:
        raise AnalysisError("there is no variant besides the intact model")
    effects = pd.DataFrame(rows)
    order = {name: place for place, name in enumerate(frame["variant"].unique())}
    effects = effects.sort_values(
        ["variant", "task"], key=lambda c: c.map(order) if c.name == "variant" else c
    )
    effects["p_adjusted"] = holm(effects["p_value"].to_numpy())
    return effects.reset_index(drop=True)


def check_kinds(by: Sequence[str]) -> None:
    """Refuse what does not make a kind of document: an ablation takes long, and a slip should cost no time.

    Raises:
        AnalysisError: A column is not among :data:`KINDS`, or there is none.
    """
    unknown = [name for name in by if name not in KINDS]
    if unknown or not by:
        raise AnalysisError(
            f"documents cannot be grouped by {', '.join(unknown) or 'nothing'}", hint=", ".join(KINDS)
        )


def ablation_contrasts(
    frame: pd.DataFrame,
    by: Sequence[str] = ("language", "family"),
    *,
    seed: int = 0,
    draws: int = 2_000,
) -> pd.DataFrame:
    """Whether a variant hurts one kind of documents more than all others.

    Documents are pooled over tasks by how right each is by itself (0 to 1). Tasks whose metric is better when
    lower, those whose documents have other values than that, and those that failed in some variant, are left
    out.

    Args:
        frame: What :func:`read_ablation` gave.
        by: Columns that make a kind.
        seed: Seed of the bootstrap over clusters of documents.
        draws: Its draws.

    Returns:
        A row per variant and kind: ``change`` (mean change of its documents), ``others`` (of all other
        documents), ``contrast`` = change - others with ``low`` and ``high``, ``n``; chance 0.
    """
    check_kinds(by)
    everywhere = frame.groupby("task")["variant"].transform("nunique") == frame["variant"].nunique()
    kept = frame[frame["higher_is_better"] & everywhere]
    if kept.empty:
        raise AnalysisError("no task was scored in every variant", hint="its failures say why")
    scored = pd.concat(
        part.assign(score=document_scores(_values(part), str(aggregation)))
        for aggregation, part in kept.groupby("aggregation", sort=False)
    )
    scored = scored[scored.groupby("task")["score"].transform(lambda score: score.between(0, 1).all())]
    if scored.empty:
        raise AnalysisError("no task scores documents between 0 and 1, as kinds of tasks need to be pooled")
    keys = ["task", "document", "repeat"]
    scored["repeat"] = scored.groupby(["variant", "task", "document"]).cumcount()
    wide = scored.pivot(index=keys, columns="variant", values="score")
    if INTACT not in wide:
        raise AnalysisError("the intact model was not scored")
    if wide.isna().any(axis=None):
        raise AnalysisError("a variant has other documents than the intact model")
    facts = scored[scored["variant"] == INTACT].set_index(keys).loc[wide.index]
    kind = np.array(kind_names(facts.reset_index(), by))
    cluster = facts["cluster"].astype(str).to_numpy() + "\n" + wide.index.get_level_values("task").to_numpy()
    rows = []
    for variant in (name for name in frame["variant"].unique() if name != INTACT):
        change = (wide[variant] - wide[INTACT]).to_numpy(dtype=np.float64)
        for name in sorted(set(kind)):
            inside = kind == name
            own = _means(change[inside], cluster[inside], seed, draws)
            rest = _means(change[~inside], cluster[~inside], seed + 1, draws)
            low, high = _limits(own, rest, np.unique(cluster[inside]).size, np.unique(cluster[~inside]).size)
            rows.append(
                {
                    "variant": variant,
                    "kind": name,
                    "change": own[0],
                    "others": rest[0],
                    "contrast": own[0] - rest[0],
                    "low": low,
                    "high": high,
                    "n": int(inside.sum()),
                }
            )
    return pd.DataFrame(rows)


def _values(frame: pd.DataFrame) -> NDArray[Any]:
    """Results of one task and variant as :func:`medbench.statistics.interval` takes them."""
    name = next((name for name in _VALUES if frame[name].notna().all()), None)
    if name is None:
        raise AnalysisError("results are missing", where=", ".join(map(str, frame["task"].unique())))
    if name == "value":
        return frame[name].to_numpy(dtype=np.float64)
    return np.stack([np.asarray(value, dtype=object) for value in frame[name]])


def _same_documents(intact: pd.DataFrame, side: pd.DataFrame, where: str) -> None:
    if not intact["document"].equals(side["document"]):
        raise AnalysisError("a variant has other documents than the intact model", where=where)


def _limits(
    own: NDArray[np.float64], rest: NDArray[np.float64], mine: int, others: int
) -> tuple[float, float]:
    """95% limits of a contrast.

    Args:
        own: Mean change of a kind and its resampled means, as :func:`_means` gives them.
        rest: Those of all other documents.
        mine: Clusters of the kind.
        others: Other clusters.
    """
    if not others:
        return math.nan, math.nan
    low, high = np.nanquantile(own[1:] - rest[1:], [0.025, 0.975])
    if not alike(low, high):
        return float(low), float(high)
    # No document changed, or all by the same: what the number of documents allows, added in squares.
    sides = [agreeing_interval(side[0], n, (-1.0, 1.0)) for side, n in ((own, mine), (rest, others))]
    below, above = (
        math.hypot(own[0] - sides[0][0], sides[1][1] - rest[0]),
        math.hypot(sides[0][1] - own[0], rest[0] - sides[1][0]),
    )
    contrast = float(own[0] - rest[0])
    return contrast - below, contrast + above


def _means(change: NDArray[np.float64], cluster: NDArray[Any], seed: int, draws: int) -> NDArray[np.float64]:
    """The mean, and the means of resampled clusters: ``[1 + draws]``."""
    if not len(change):
        return np.full(1 + draws, np.nan)
    _, code = np.unique(cluster.astype(str), return_inverse=True)
    sums = np.column_stack([np.bincount(code, change), np.bincount(code)]).astype(np.float64)
    totals = np.concatenate(list(bootstrap_totals(sums, seed=seed, draws=draws)))
    return np.concatenate([[change.mean()], totals[:, 0] / totals[:, 1]])
