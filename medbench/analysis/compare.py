"""Paired comparison of systems with a baseline."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import pandas as pd

from medbench.analysis.compared import ComparedTask, Side, Wanted, compare_group, compare_task, judge
from medbench.analysis.documents import SystemDocuments
from medbench.analysis.pairing import matched
from medbench.analysis.runs import Runs
from medbench.analysis.systems import System, find_system, systems
from medbench.analysis.task_names import leaf_tasks
from medbench.errors import AnalysisError
from medbench.statistics import DRAWS, holm


def compare(
    runs: Runs,
    baseline: str,
    *,
    by: str = "model",
    tasks: Sequence[str] | None = None,
    intersect: bool = False,
    ignore: Collection[str] = (),
    alpha: float = 0.05,
    seed: int = 0,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Compare every model with a baseline, task by task, on the same documents.

    Of a model that was evaluated under several conditions, those speak that the baseline was evaluated under
    as well, with the most documents in common; what differs all the same is said in every row.

    Args:
        runs: Runs of the systems.
        baseline: Name of the baseline: a model (of :func:`systems`), or ``model/run`` with ``by="run"``.
        by: ``model`` or ``run``, what counts as a system.
        tasks: Only these tasks and groups; a group brings its tasks along.
        intersect: Compare the documents that agree instead of refusing a task where some do not.
        ignore: Hashes that need not agree: ``prompt`` (chat templates differ) or ``target``.
        alpha: Level of the verdicts, after Holm's adjustment over the tasks of a model.
        seed: Seed of bootstrap and randomization.
        draws: Draws of bootstrap and randomization.

    Returns:
        A row per model, task and group, with the fields of :class:`ComparedTask`: of each model the groups,
        then the tasks, largest differences first and what was refused last.

    Raises:
        AnalysisError: The baseline or a task is unknown, there is nothing to compare the baseline with, or no
            task of any system may be compared.
    """
    wanted = Wanted(intersect, frozenset(ignore), alpha, seed, draws)
    read: dict[str, SystemDocuments] = {}
    rows = []
    for one, two, needed in opponents(runs, baseline, wanted, by=by, tasks=tasks):
        read.setdefault(one.name, SystemDocuments(one, one.runs))
        rows += _compare_system(two, Side(one, read[one.name]), tasks, needed, wanted)
    refuse_nothing(rows)
    return pd.DataFrame(rows, columns=[field.name for field in fields(ComparedTask)])


class Opponents(NamedTuple):
    """Two systems that are compared.

    Attributes:
        baseline: The one.
        system: The other.
        tasks: On which tasks: those asked for, else those that both have.
    """

    baseline: System
    system: System
    tasks: list[str]


def opponents(
    runs: Runs, baseline: str, wanted: Wanted, *, by: str, tasks: Sequence[str] | None
) -> list[Opponents]:
    """Choose of every model the conditions that are compared with the baseline.

    Args:
        runs: Runs of the systems.
        baseline: Name of the baseline.
        wanted: How to compare.
        by: ``model`` or ``run``, what counts as a system.
        tasks: Only these tasks and groups.

    Raises:
        AnalysisError: The baseline or a task is unknown, or there is nothing to compare the baseline with.
    """
    unknown = wanted.ignore - {"prompt", "target"}
    if unknown:
        raise AnalysisError(f"{sorted(unknown)[0]!r} cannot be ignored", hint="prompt and target can")
    known = systems(runs, by=by)
    base = find_system(known, baseline)
    # A model's plain name stands for all its conditions, any other for one.
    bases = [s for s in known if s.speaks_for == base.speaks_for] if base.usual else [base]
    others: dict[str, list[System]] = {}
    for system in known:
        if system.speaks_for != base.speaks_for:
            others.setdefault(system.speaks_for, []).append(system)
    if not others:
        raise AnalysisError(
            "there is nothing to compare the baseline with",
            hint="give runs of a second model, or tell the runs of one apart with --by run",
        )
    leaves = None if tasks is None else _leaves(known, tasks)
    prompts, limits = "prompt" not in wanted.ignore, not wanted.intersect
    pairs = [matched(bases, mine, leaves, prompts=prompts, limits=limits) for mine in others.values()]
    return [
        Opponents(one, two, [task for task in one.runs if task in two.runs] if leaves is None else leaves)
        for one, two in pairs
    ]


def refuse_nothing(rows: Sequence[ComparedTask]) -> None:
    """End where there is nothing to show.

    Raises:
        AnalysisError: There are no rows, or all are refused.
    """
    if not rows:
        raise AnalysisError("the systems have no task in common", hint="run both on the same tasks")
    if all(row.verdict == "refused" for row in rows):
        first = next((row for row in rows if row.kind == "task"), rows[0])
        raise AnalysisError(
            "nothing may be compared",
            where=f"{first.task}: {'; '.join(text for text in (first.reason, first.differing) if text)}",
            hint="run both on the same documents and prompts; --intersect compares the documents that agree, "
            "--ignore-prompts lets prompts differ",
        )


def _leaves(known: Sequence[System], tasks: Sequence[str]) -> list[str]:
    groups = {name: group for system in reversed(known) for name, group in system.groups.items()}
    return leaf_tasks(tasks, (task for system in known for task in system.runs), groups)


def _compare_system(
    system: System, baseline: Side, tasks: Sequence[str] | None, needed: Sequence[str], wanted: Wanted
) -> list[ComparedTask]:
    base = baseline.system
    if tasks is None:
        groups = [name for name in base.groups if name in system.groups]
    else:
        groups = [name for name in tasks if name in base.groups or name in system.groups]
    candidate = Side(system, SystemDocuments(system, needed))
    rows = {task: compare_task(task, candidate, baseline, wanted) for task in needed}
    adjusted = dict(zip(rows, holm([row.p_value for row in rows.values()]), strict=True))
    rows = {task: judge(row, float(adjusted[task]), wanted.alpha) for task, row in rows.items()}
    averages = [compare_group(group, rows, system, base, wanted.alpha) for group in groups]
    return [*sorted(averages, key=by_size), *sorted(rows.values(), key=by_size)]


def by_size(row: ComparedTask) -> tuple[Any, ...]:
    """Sorts rows: shares before numbers of other kinds, the largest difference first, the unknown last."""
    unknown = math.isnan(row.difference)
    return unknown, row.unit != "share", 0.0 if unknown else -abs(row.difference)
