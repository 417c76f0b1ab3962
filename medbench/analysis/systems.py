"""Which run speaks for a system on a task, and what groups are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medbench.analysis.runs import Run, Runs
from medbench.analysis.units import with_units
from medbench.errors import AnalysisError

__all__ = ["System", "find_system", "group_weights", "lower_is_better", "main_scores", "systems"]


@dataclass(frozen=True)
class System:
    """A model, or one run of it, as one side of a comparison.

    Attributes:
        name: Model name; with the run id where runs are told apart.
        runs: The run that answers for each task.
        scores: Main scores, a row per task or group, indexed by its name.
    """

    name: str
    runs: Mapping[str, Run]
    scores: pd.DataFrame


def systems(runs: Runs, *, by: str = "model") -> list[System]:
    """Arrange runs as systems.

    Args:
        runs: Loaded runs.
        by: ``model``: one system per model, the newest run of each task; ``run``: one per run.

    Raises:
        AnalysisError: ``by`` is something else.
    """
    if by not in ("model", "run"):
        raise AnalysisError(f"systems are told apart by model or by run, not by {by!r}")
    found: dict[str, list[Run]] = {}
    for run in runs:  # oldest first, so that later ones replace earlier ones below
        found.setdefault(run.model if by == "model" else f"{run.model}/{run.run}", []).append(run)
    return [_system(name, members) for name, members in found.items()]


def find_system(candidates: list[System], name: str) -> System:
    """Find a system by its name.

    Raises:
        AnalysisError: There is none.
    """
    for system in candidates:
        if system.name == name:
            return system
    raise AnalysisError(
        f"nothing is called {name!r}", hint=f"there are {', '.join(system.name for system in candidates)}"
    )


def main_scores(run: Run) -> pd.DataFrame:
    """Main scores of a run, a row per task or group, indexed by its name."""
    scores = with_units(run.tables.scores().to_pandas())
    main = scores[scores["main"].fillna(False).astype(bool)]
    return main.drop_duplicates("task").set_index("task", drop=False)


def lower_is_better(score: Any) -> bool:
    """Whether a row of scores says that its metric falls as things improve; silence means it does not."""
    direction = score["higher_is_better"]
    return not pd.isna(direction) and not bool(direction)


def group_weights(scores: pd.DataFrame, name: str) -> dict[str, float]:
    """Weights with which the tasks of a group enter its average; they add up to 1.

    Args:
        scores: Main scores as :func:`main_scores` gives them.
        name: A task (weight 1) or a group, whose members may be groups.

    Raises:
        AnalysisError: The name is unknown, or the group contains itself.
    """
    return _weights(scores, name, ())


def _weights(scores: pd.DataFrame, name: str, above: tuple[str, ...]) -> dict[str, float]:
    if name in above:
        raise AnalysisError(f"the group {name!r} contains itself")
    if name not in scores.index or scores.at[name, "kind"] == "task":
        return {name: 1.0}
    members: list[str] = [str(member) for member in _members(scores.at[name, "members"])]
    if not members:
        raise AnalysisError(f"the group {name!r} does not say what its members are")
    weighted = scores.at[name, "aggregation"] == "weighted"
    sizes = [float(str(scores.at[m, "n"])) if weighted and m in scores.index else 1.0 for m in members]
    total: dict[str, float] = {}
    for member, size in zip(members, sizes, strict=True):
        for task, weight in _weights(scores, member, (*above, name)).items():
            total[task] = total.get(task, 0.0) + weight * size / sum(sizes)
    return total


def _members(value: Any) -> list[Any]:
    return [] if value is None or isinstance(value, float) else list(value)


def _system(name: str, runs: list[Run]) -> System:
    chosen: dict[str, Run] = {}
    tables = []
    for run in runs:
        scores = main_scores(run)
        tables.append(scores)
        chosen |= dict.fromkeys(scores.index[scores["kind"] == "task"], run)
    joined = pd.concat(tables) if len(tables) > 1 else tables[0]
    return System(name, chosen, joined[~joined.index.duplicated(keep="last")])
