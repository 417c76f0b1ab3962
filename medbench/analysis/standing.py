"""Which systems may stand in one ranking, and how sure their order is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medbench.analysis.conditions import ASKED, COMPUTED
from medbench.analysis.documents import SystemDocuments
from medbench.analysis.systems import System
from medbench.errors import AnalysisError
from medbench.statistics import LABEL_AGGREGATIONS, Sufficient, paired_draws, sufficient

# What must agree between two rows of scores of one task, and how it is called. The source may be unknown.
_SCORED = {
    "data_source": "the source",
    "metric": "the metric",
    "filter": "the filter",
    "aggregation": "the aggregation",
    "num_fewshot": "the number of examples",
    "version": "the version of the task",
}


class Answers(NamedTuple):
    """Results of a task by document, and what was asked; prompts aside, for chat templates differ."""

    asked: str
    values: Any
    aggregation: str


@dataclass(frozen=True)
class Entry:
    """A system on the tasks of a suite.

    Attributes:
        system: The system.
        weights: The tasks of its average with their weights, by its own sizes.
        unusable: Why it has no average at all; empty if it may have one.
    """

    system: System
    weights: Mapping[str, float]
    unusable: str = ""

    @property
    def missing(self) -> list[str]:
        """Tasks without a score."""
        values = self.system.scores["value"]
        return [task for task in self.weights if pd.isna(values.get(task))]

    @property
    def documents(self) -> int:
        """Documents behind all tasks that were scored."""
        sizes = self.system.sizes
        return int(sum(sizes.get(task, 0.0) for task in self.weights))

    @cached_property
    def answers(self) -> dict[str, Answers] | None:
        """Results by document; ``None`` where some are not there."""
        documents = SystemDocuments(self.system, self.weights)
        found = {}
        try:
            for task in self.weights:
                mine = documents.read(task)
                values = mine.values(mine.frame.index.sort_values())
                asked = f"{mine.aggregation} {mine.identity()}"
                found[task] = Answers(asked, values, mine.aggregation)
        except AnalysisError:
            return None
        return found


def leading(entries: Sequence[Entry]) -> Entry:
    """The system whose conditions a ranking takes: those that most models share, with the most documents.

    Args:
        entries: Systems, the first of each model being the one with its plain name.
    """
    usable = [entry for entry in entries if not entry.missing and not entry.unusable]
    complete = [entry for entry in usable if entry.answers is not None] or usable or list(entries)

    def shared(lead: Entry) -> tuple[int, int]:
        beside = {entry.system.speaks_for for entry in complete if not apart(entry, lead)}
        return len(beside), lead.documents

    return max(complete, key=shared)


def apart(entry: Entry, lead: Entry) -> list[str]:
    """Why a system may not be ranked beside another; empty if it may.

    Args:
        entry: The system.
        lead: The other.
    """
    if entry is lead:
        return []
    mine, other = entry.system, lead.system
    names = [name for name in ASKED if name != "sources"]
    reasons = mine.conditions.differences(other.conditions, names)
    if entry.weights.keys() != lead.weights.keys():
        return [*reasons, "other tasks make up the average"]
    tasks = [task for task in entry.weights if task in mine.scores.index and task in other.scores.index]
    for column, called in _SCORED.items():
        differing = [task for task in tasks if _differ(mine, other, task, column)]
        if differing and not (reasons and column == "num_fewshot"):
            one, two = (str(side.scores.at[differing[0], column]) for side in (mine, other))
            reasons.append(f"{called} differs in {_some(differing)} ({one} against {two})")
    return reasons or _other_documents(entry, lead, tasks)


def computed_apart(entry: Entry, ranked: Entry) -> list[str]:
    """What sets two systems of one model apart that were asked the same."""
    return ranked.system.conditions.differences(entry.system.conditions, COMPUTED)


def draw_averages(ranked: Sequence[Entry], *, seed: int, draws: int) -> Any:
    """Averages of resampled documents, the same draw for all systems: ``[draws, systems]``.

    Args:
        ranked: Systems that were asked the same documents and have a result for each.
        seed: Seed of the bootstrap.
        draws: Its draws.
    """
    total = np.zeros((draws, len(ranked)))
    for number, task in enumerate(ranked[0].weights):
        rows = _rows([entry.answers[task] for entry in ranked if entry.answers is not None])
        shares = np.array([entry.weights[task] for entry in ranked])
        total += shares * paired_draws(rows, seed=_seed(seed, number), draws=draws)
    return total


def _other_documents(entry: Entry, lead: Entry, tasks: Iterable[str]) -> list[str]:
    sizes = [side.system.sizes for side in (entry, lead)]
    other = [task for task in tasks if sizes[0].get(task) != sizes[1].get(task)]
    if not other and not entry.missing and not lead.missing:
        if entry.answers is None:
            return ["results by document are missing"]
        if lead.answers is not None:
            other = [task for task in tasks if entry.answers[task].asked != lead.answers[task].asked]
    return [f"other documents in {_some(other)}"] if other else []


def _differ(mine: System, other: System, task: str, column: str) -> bool:
    if column not in mine.scores or column not in other.scores:
        return False
    values: list[Any] = [side.scores.at[task, column] for side in (mine, other)]
    one, two = values
    return not (pd.isna(one) or pd.isna(two) or one == two)


def _some(tasks: Sequence[str]) -> str:
    return ", ".join(tasks[:3]) + (f" and {len(tasks) - 3} more" if len(tasks) > 3 else "")


def _rows(answers: Sequence[Answers]) -> list[Sufficient]:
    aggregation = answers[0].aggregation
    labels = None
    if aggregation in LABEL_AGGREGATIONS:
        labels = list(dict.fromkeys(name for mine in answers for name in mine.values.ravel().tolist()))
    return [sufficient(mine.values, aggregation, labels) for mine in answers]


def _seed(*parts: int) -> int:
    """One seed out of several numbers, the same everywhere."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
