"""Ranking systems over a suite, with ranks that respect noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from medbench.analysis.documents import SystemDocuments
from medbench.analysis.runs import Runs
from medbench.analysis.systems import System, group_weights, lower_is_better, systems
from medbench.analysis.units import Unit, shared_unit
from medbench.errors import AnalysisError
from medbench.statistics import (
    LABEL_AGGREGATIONS,
    Interval,
    Sufficient,
    average_interval,
    paired_draws,
    rank_intervals,
    sufficient,
)

__all__ = ["Leaderboard", "Published", "leaderboard", "read_published"]


@dataclass(frozen=True)
class Published:
    """Scores that someone else reported.

    Attributes:
        model: Name shown.
        source: Where they were published.
        scores: Task or group to score, on the scale of the runs (0 to 1).
    """

    model: str
    source: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Leaderboard:
    """A ranking.

    Attributes:
        suite: Name of the group ranked over, or ``tasks``.
        tasks: Its tasks with their weights in the average.
        units: What the scores of each task are counted in.
        ranking: A row per system, best first: ``model, rank, rank_low, rank_high, value, low, high,
            tasks, missing`` (list of tasks without a score), a column per language and family found,
            ``comparable`` (false for published scores, which have no rank) and ``source``.
        scores: A row per system and task: ``model, task, language, family, value, low, high, n,
            data_source``; NaN where it is missing.
    """

    suite: str
    tasks: dict[str, float]
    units: dict[str, Unit]
    ranking: pd.DataFrame
    scores: pd.DataFrame


def leaderboard(
    runs: Runs,
    suite: str | None = None,
    *,
    by: str = "model",
    tasks: Sequence[str] | None = None,
    published: Sequence[Published] = (),
    seed: int = 0,
    draws: int = 2_000,
) -> Leaderboard:
    """Rank systems by their average over a suite.

    An average that lacks a task is missing; it is never taken over the rest. Ranks are given among the
    systems with a complete average, with intervals from resampled documents: the same draw for systems that
    were asked the same documents.

    Args:
        runs: Runs of the systems.
        suite: Group to rank over; by default the one with the most tasks, or all tasks if there is none.
        by: ``model`` or ``run``, what counts as a system.
        tasks: Rank over these tasks instead, weighted equally.
        published: Scores from elsewhere, shown but not ranked.
        seed: Seed of the bootstrap.
        draws: Its draws.

    Raises:
        AnalysisError: The suite or a task is unknown, or holds metrics that cannot be averaged.
    """
    known = systems(runs, by=by)
    name, weights, facts = _suite(known, suite, tasks)
    rows = [_score_row(system.name, task, system.scores, facts) for system in known for task in weights]
    scores = pd.DataFrame(rows)
    ranking = [_average_row(system, weights, facts) for system in known]
    complete = [i for i, row in enumerate(ranking) if not math.isnan(row["value"])]
    if complete:
        sampled = _draw_averages([known[i] for i in complete], weights, seed=seed, draws=draws)
        values = np.array([ranking[i]["value"] for i in complete])
        for i, found in zip(complete, rank_intervals(values, sampled), strict=True):
            ranking[i] |= {"rank": found.rank, "rank_low": found.low, "rank_high": found.high}
    ranking += [_published_row(entry, name, weights, facts) for entry in published]
    frame = pd.DataFrame(ranking).sort_values(["value", "model"], ascending=[False, True], kind="stable")
    for column in ("rank", "rank_low", "rank_high"):
        frame[column] = frame[column].astype("Int64")
    return Leaderboard(name, weights, _units(known, weights), frame.reset_index(drop=True), scores)


def read_published(path: str | PathLike[str]) -> list[Published]:
    """Read published scores from a YAML: a list of ``model``, ``source`` and ``scores``.

    Raises:
        AnalysisError: The file cannot be read, or an entry holds something else than a sourced score.
    """
    where = Path(path)
    try:
        content: Any = yaml.safe_load(where.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AnalysisError(f"published scores cannot be read: {error}", where=str(where)) from error
    if not isinstance(content, list):
        raise AnalysisError("published scores are a list of entries", where=str(where))
    found = []
    for number, entry in enumerate(content, 1):
        place = f"{where}, entry {number}"
        if not isinstance(entry, dict) or set(entry) != {"model", "source", "scores"}:
            raise AnalysisError("an entry has the keys model, source and scores", where=place)
        scores = entry["scores"]
        if not isinstance(scores, dict) or not all(
            isinstance(value, (int, float)) and 0 <= value <= 1 for value in scores.values()
        ):
            raise AnalysisError(
                "scores map tasks to numbers between 0 and 1", where=place, hint="divide percentages by 100"
            )
        scores = {str(task): float(value) for task, value in scores.items()}
        found.append(Published(str(entry["model"]), str(entry["source"]), scores))
    return found


def _suite(
    known: Sequence[System], suite: str | None, tasks: Sequence[str] | None
) -> tuple[str, dict[str, float], pd.DataFrame]:
    facts = pd.concat([system.scores for system in known])
    facts = facts[~facts.index.duplicated()]
    if tasks is not None:
        missing = [task for task in tasks if task not in facts.index]
        if missing:
            raise AnalysisError(f"no run has the task {missing[0]!r}")
        weights = dict.fromkeys(tasks, 1 / len(tasks))
        name = "tasks"
    else:
        groups = [str(group) for group in facts.index[facts["kind"] == "group"]]
        if suite is not None and suite not in facts.index:
            raise AnalysisError(
                f"no run has the group {suite!r}", hint=f"there are {', '.join(groups) or 'no groups'}"
            )
        leaves = {group: group_weights(facts, group) for group in ([suite] if suite else groups)}
        name = max(leaves, key=lambda group: len(leaves[group]), default="tasks")
        every = facts.index[facts["kind"] == "task"]
        weights = leaves.get(name) or {str(task): 1 / len(every) for task in every}
    down = [task for task in weights if task in facts.index and lower_is_better(facts.loc[task])]
    if down:
        raise AnalysisError(
            f"lower is better in {', '.join(down)}, which cannot be averaged with other scores",
            hint="choose the tasks to rank over",
        )
    return name, weights, facts


def _units(known: Sequence[System], tasks: Iterable[str]) -> dict[str, Unit]:
    """The unit of each task, which all systems share."""
    tables = [system.scores["unit"] for system in known]
    return {task: shared_unit(table[task] for table in tables if task in table.index) for task in tasks}


def _score_row(model: str, task: str, scores: pd.DataFrame, facts: pd.DataFrame) -> dict[str, Any]:
    about: Any = facts.loc[task] if task in facts.index else {}
    mine: Any = scores.loc[task] if task in scores.index else {}
    return {
        "model": model,
        "task": task,
        "language": about.get("language"),
        "family": about.get("family"),
        "value": _float(mine.get("value")),
        "low": _float(mine.get("low")),
        "high": _float(mine.get("high")),
        "n": int(mine.get("n", 0)),
        "data_source": mine.get("data_source"),
    }


def _average_row(system: System, weights: dict[str, float], facts: pd.DataFrame) -> dict[str, Any]:
    scores = {task: _float(system.scores["value"].get(task)) for task in weights}
    row = _row(system.name, scores, weights, facts)
    row |= {"low": math.nan, "high": math.nan, "comparable": True, "source": ""}
    if not row["missing"]:
        mine = system.scores.loc[list(weights)]
        members = [
            Interval(*row) for row in mine[["value", "low", "high", "interval", "n"]].to_numpy().tolist()
        ]
        found = average_interval(members, list(weights.values()))
        row |= {"low": found.low, "high": found.high}
    return row


def _published_row(
    entry: Published, suite: str, weights: dict[str, float], facts: pd.DataFrame
) -> dict[str, Any]:
    row = _row(entry.model, {task: entry.scores.get(task, math.nan) for task in weights}, weights, facts)
    if suite in entry.scores:
        row["value"] = entry.scores[suite]
    return row | {"low": math.nan, "high": math.nan, "comparable": False, "source": entry.source}


def _row(
    model: str, scores: dict[str, float], weights: dict[str, float], facts: pd.DataFrame
) -> dict[str, Any]:
    missing = [task for task, value in scores.items() if math.isnan(value)]
    row: dict[str, Any] = {
        "model": model,
        "rank": pd.NA,
        "rank_low": pd.NA,
        "rank_high": pd.NA,
        "value": _average(scores, weights),
        "tasks": len(scores) - len(missing),
        "missing": missing,
    }
    present = facts.loc[[task for task in weights if task in facts.index]]
    for column in ("language", "family"):
        for part in sorted(present[column].dropna().unique()):
            inside = present.index[present[column] == part]
            row[f"{column}.{part}"] = _average(
                {task: scores[task] for task in inside}, {task: weights[task] for task in inside}
            )
    return row


def _average(scores: dict[str, float], weights: dict[str, float]) -> float:
    return sum(weights[task] * value for task, value in scores.items()) / sum(weights.values())


def _draw_averages(ranked: Sequence[System], weights: dict[str, float], *, seed: int, draws: int) -> Any:
    answers = [_answers(system, weights) for system in ranked]
    total = np.zeros((draws, len(ranked)))
    for number, (task, weight) in enumerate(weights.items()):
        alike: dict[str, list[int]] = {}
        for i, mine in enumerate(answers):
            alike.setdefault(mine[task].asked, []).append(i)
        for members in alike.values():
            rows = _rows([answers[i][task] for i in members])
            # Systems that were asked other documents share no noise, hence another seed.
            sampled = paired_draws(rows, seed=_seed(seed, number, members[0]), draws=draws)
            total[:, members] += weight * sampled
    return total


class _Answers(NamedTuple):
    """Results of a task by document, and what was asked; prompts aside, for chat templates differ."""

    asked: str
    values: Any
    aggregation: str


def _answers(system: System, tasks: Iterable[str]) -> dict[str, _Answers]:
    documents = SystemDocuments(system, tasks)
    found = {}
    for task in tasks:
        mine = documents.read(task)
        values = mine.values(mine.frame.index.sort_values())
        found[task] = _Answers(f"{mine.aggregation} {mine.identity()}", values, mine.aggregation)
    return found


def _rows(answers: Sequence[_Answers]) -> list[Sufficient]:
    aggregation = answers[0].aggregation
    labels = None
    if aggregation in LABEL_AGGREGATIONS:
        labels = list(dict.fromkeys(name for mine in answers for name in mine.values.ravel().tolist()))
    return [sufficient(mine.values, aggregation, labels) for mine in answers]


def _seed(*parts: int) -> int:
    """One seed out of several numbers, the same everywhere."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _float(value: Any) -> float:
    return math.nan if value is None or pd.isna(value) else float(value)
