"""Ranking systems over a suite, with ranks that respect noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis.anchors import Published
from medbench.analysis.groups import averaged, group_weights, lower_is_better
from medbench.analysis.runs import Runs
from medbench.analysis.standing import Entry, apart, computed_apart, draw_averages, leading
from medbench.analysis.systems import System, systems
from medbench.analysis.task_names import leaf_tasks, unknown_name
from medbench.analysis.units import Unit, shared_unit
from medbench.errors import AnalysisError, StatisticsError
from medbench.statistics import rank_intervals

#: What a ranking over no group is called.
TASKS = "tasks"


@dataclass(frozen=True)
class Leaderboard:
    """A ranking.

    Attributes:
        suite: Name of the group ranked over, or ``tasks``.
        tasks: Its tasks with their weights in the averages of the ranked systems.
        units: What the scores of each task are counted in.
        conditions: Those of the ranking, as a line.
        ranking: A row per system: ``model, rank, rank_low, rank_high, value, low, high, n`` (documents),
            ``run`` (those that answer), ``tasks`` (how many have a score), ``missing`` (list of those
            without), a column per language and family found, ``comparable`` (whether it stands in the
            ranking; others have no rank), ``apart`` (why not), ``conditions`` and ``source`` (of published
            scores). The ranked ones come first, best first; then those that stand apart.
        scores: A row per system and task: ``model, task, language, family, value, low, high, n,
            data_source, run``; NaN where it is missing.
    """

    suite: str
    tasks: dict[str, float]
    units: dict[str, Unit]
    conditions: str
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

    A score is a matter of one system: its runs, its groups, its numbers of documents. Systems are ranked
    together only if they were asked the same documents in the same way: under the conditions that most models
    share, or of several such the one with the most documents. Systems under other conditions are shown
    without a rank. An average that lacks a task is missing; it is never taken over the rest.

    Args:
        runs: Runs of the systems.
        suite: Group to rank over; by default the one with the most tasks, or without any group all tasks of
            each system.
        by: ``model`` or ``run``, what counts as a system.
        tasks: Rank over these tasks instead, weighted equally; a group stands for its tasks.
        published: Scores from elsewhere, shown but not ranked.
        seed: Seed of the bootstrap.
        draws: Its draws.

    Raises:
        AnalysisError: The suite or a task is unknown, or holds metrics that cannot be averaged.
    """
    asked = _suite(systems(runs, by=by), suite, tasks)
    # Which conditions have a model's plain name depends on the documents of the suite.
    known = systems(runs, by=by, tasks=asked.tasks)
    entries = [_entry(system, known, asked) for system in known]
    # A model without a score is missing from the ranking; conditions without one have nothing to say.
    entries = [entry for entry in entries if entry.system.usual or len(entry.missing) < len(entry.weights)]
    lead = leading(entries)
    if lead.unusable:
        raise AnalysisError(lead.unusable, hint="choose the tasks to rank over (--task)")
    facts = pd.concat([system.scores for system in known])
    facts = facts[~facts.index.duplicated()]
    reasons = _reasons(entries, lead)
    rows = [_average_row(entry, why, facts) for entry, why in zip(entries, reasons, strict=True)]
    _rank(rows, entries, seed=seed, draws=draws)
    rows += [_published_row(entry, asked.name, lead.weights, facts) for entry in published]
    frame = pd.DataFrame(rows)
    frame["block"] = frame["apart"] != ""
    frame = frame.sort_values(["block", "value", "model"], ascending=[True, False, True], kind="stable")
    for column in ("rank", "rank_low", "rank_high", "n"):
        frame[column] = frame[column].astype("Int64")
    return Leaderboard(
        asked.name,
        dict(lead.weights),
        _units(known, lead.weights),
        lead.system.conditions.line(),
        frame.drop(columns="block").reset_index(drop=True),
        pd.DataFrame([_score_row(entry.system, task, facts) for entry in entries for task in lead.weights]),
    )


@dataclass(frozen=True)
class _Suite:
    """What is ranked over.

    Attributes:
        name: Name of the group, or ``tasks``.
        tasks: All tasks that belong to it in any system; ``None`` for those of each system.
        group: Whether it is a group, of which each system has its own idea.
    """

    name: str
    tasks: list[str] | None
    group: bool


def _suite(known: Sequence[System], suite: str | None, tasks: Sequence[str] | None) -> _Suite:
    groups = {name: group for system in reversed(known) for name, group in system.groups.items()}
    if tasks is not None:
        every = (task for system in known for task in system.runs)
        return _Suite(TASKS, leaf_tasks(tasks, every, groups), group=False)
    if suite is not None and suite not in groups:
        raise unknown_name("group", suite, groups)
    if not groups:
        return _Suite(TASKS, None, group=False)
    leaves = {
        name: list(
            dict.fromkeys(
                task
                for system in known
                if name in system.groups
                for task in group_weights(system.groups, name)
            )
        )
        for name in groups
    }
    # The largest, whatever the order of the systems.
    name = suite or min(groups, key=lambda group: (-len(leaves[group]), group))
    return _Suite(name, leaves[name], group=True)


def _entry(system: System, known: Sequence[System], suite: _Suite) -> Entry:
    if suite.group:
        # Whose tasks were run one by one knows no group; what belongs to it is told by another system.
        tellers = [other.groups for other in (system, *known) if suite.name in other.groups]
        weights = group_weights(tellers[0], suite.name, system.sizes)
    else:
        failed = [task for run in system.runs.values() for task in run.manifest.get("failures") or ()]
        every = suite.tasks if suite.tasks is not None else list(dict.fromkeys([*system.runs, *failed]))
        weights = {task: 1 / len(every) for task in every}
    down = [task for task in weights if task in system.runs and lower_is_better(system.scores.loc[task])]
    why = f"lower is better in {', '.join(down)}, which cannot be averaged with other scores"
    return Entry(system, weights, why if down else "")


def _reasons(entries: Sequence[Entry], lead: Entry) -> list[list[str]]:
    """Why each system stands apart from the ranking; nothing for those within, one for each model."""
    seated = {lead.system.speaks_for: lead}
    found = []
    for entry in entries:
        why = [entry.unusable] if entry.unusable else apart(entry, lead)
        if not why and seated.setdefault(entry.system.speaks_for, entry) is not entry:
            ranked = seated[entry.system.speaks_for]
            why = computed_apart(entry, ranked) or [f"{ranked.system.name} is ranked"]
        found.append(why)
    return found


def _average_row(entry: Entry, why: Sequence[str], facts: pd.DataFrame) -> dict[str, Any]:
    system = entry.system
    values = {task: _float(system.scores["value"].get(task)) for task in entry.weights}
    if entry.unusable:
        values = dict.fromkeys(values, math.nan)
    own = pd.concat([system.scores, facts])
    row = _row(system.name, values, entry.weights, own[~own.index.duplicated()])
    row |= {
        "low": math.nan,
        "high": math.nan,
        "n": entry.documents,
        "run": ", ".join(system.run_ids(entry.weights)),
        "comparable": not why,
        "apart": "; ".join(why),
        "conditions": system.conditions.line(),
        "source": "",
    }
    if not row["missing"]:
        found = averaged(system.scores, entry.weights)
        row |= {"low": found.low, "high": found.high}
    return row


def _published_row(
    entry: Published, suite: str, weights: Mapping[str, float], facts: pd.DataFrame
) -> dict[str, Any]:
    row = _row(entry.model, {task: entry.scores.get(task, math.nan) for task in weights}, weights, facts)
    if suite in entry.scores:
        row["value"] = entry.scores[suite]
    return row | {
        "low": math.nan,
        "high": math.nan,
        "n": pd.NA,
        "run": None,
        "comparable": False,
        "apart": "",
        "conditions": "",
        "source": entry.source,
    }


def _row(
    model: str, values: Mapping[str, float], weights: Mapping[str, float], facts: pd.DataFrame
) -> dict[str, Any]:
    missing = [task for task, value in values.items() if math.isnan(value)]
    row: dict[str, Any] = {
        "model": model,
        "rank": pd.NA,
        "rank_low": pd.NA,
        "rank_high": pd.NA,
        "value": _average(values, weights),
        "tasks": len(values) - len(missing),
        "missing": missing,
    }
    present = facts.loc[[task for task in weights if task in facts.index]]
    for column in ("language", "family"):
        for part in sorted(present[column].dropna().unique()):
            inside = present.index[present[column] == part]
            row[f"{column}.{part}"] = _average(
                {task: values[task] for task in inside}, {task: weights[task] for task in inside}
            )
    return row


def _average(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    total = sum(weights.values())
    return sum(weights[task] * value for task, value in values.items()) / total if total else math.nan


def _rank(rows: Sequence[dict[str, Any]], entries: Sequence[Entry], *, seed: int, draws: int) -> None:
    """Give the complete systems of the ranking their ranks."""
    seats = [i for i, row in enumerate(rows) if row["comparable"] and not row["missing"]]
    seats = [i for i in seats if entries[i].answers is not None]
    if not seats:
        return
    values = np.array([rows[i]["value"] for i in seats])
    try:
        sampled = draw_averages([entries[i] for i in seats], seed=seed, draws=draws)
    except StatisticsError:  # nothing is known of a metric's noise; its score stands all the same
        for i, value in zip(seats, values, strict=True):
            rows[i]["rank"] = 1 + int((values > value).sum())
        return
    for i, found in zip(seats, rank_intervals(values, sampled), strict=True):
        rows[i] |= {"rank": found.rank, "rank_low": found.low, "rank_high": found.high}


def _units(known: Sequence[System], tasks: Iterable[str]) -> dict[str, Unit]:
    """The unit of each task, which all systems share."""
    tables = [system.scores["unit"] for system in known]
    return {task: shared_unit(table[task] for table in tables if task in table.index) for task in tasks}


def _score_row(system: System, task: str, facts: pd.DataFrame) -> dict[str, Any]:
    about: Any = facts.loc[task] if task in facts.index else {}
    mine: Any = system.scores.loc[task] if task in system.scores.index else {}
    return {
        "model": system.name,
        "task": task,
        "language": about.get("language"),
        "family": about.get("family"),
        "value": _float(mine.get("value")),
        "low": _float(mine.get("low")),
        "high": _float(mine.get("high")),
        "n": int(mine.get("n", 0)),
        "data_source": mine.get("data_source"),
        "run": system.runs[task].run if task in system.runs else None,
    }


def _float(value: Any) -> float:
    return math.nan if value is None or pd.isna(value) else float(value)
