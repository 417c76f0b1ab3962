"""Paired comparison of systems with a baseline."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd
from scipy import special

from medbench.analysis.documents import SystemDocuments, TaskDocuments, differences
from medbench.analysis.runs import Runs
from medbench.analysis.systems import System, find_system, group_weights, lower_is_better, systems
from medbench.analysis.units import Unit, shared_unit
from medbench.errors import AnalysisError, StatisticsError
from medbench.statistics import (
    AGGREGATIONS,
    DRAWS,
    Interval,
    average_interval,
    holm,
    minimal_detectable_effect,
    paired,
    sufficient,
)

__all__ = ["ComparedTask", "compare"]


@dataclass(frozen=True)
class ComparedTask:
    """A row of :func:`compare`.

    Attributes:
        model: The system compared.
        baseline: The one it is compared with.
        task: Task or group.
        kind: ``task`` or ``group``.
        metric: Main metric.
        unit: What scores, difference and interval are counted in: ``share`` or ``number``.
        n: Documents compared.
        score: Score of the model on them.
        baseline_score: Score of the baseline on them.
        difference: ``score - baseline_score``.
        low: Lower limit of the difference.
        high: Upper limit.
        interval: Method of the interval.
        p_value: Two-sided, of this test alone.
        p_holm: Adjusted over the tasks of the model (Holm); NaN for groups, which are no further tests.
        test: ``mcnemar-exact`` or ``randomisation``; ``z`` for groups, from their interval.
        wins: Documents on which the model scored higher.
        losses: Documents on which it scored lower.
        detectable: Smallest true difference that a test of this size finds with 80 % power.
        higher_is_better: Direction of the metric.
        verdict: ``better``, ``worse``, ``undecided`` or ``refused``.
        reason: Why it was refused, or what was left out of the comparison.
    """

    model: str
    baseline: str
    task: str
    kind: str
    metric: str
    unit: Unit
    n: int = 0
    score: float = math.nan
    baseline_score: float = math.nan
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    interval: str = "none"
    p_value: float = math.nan
    p_holm: float = math.nan
    test: str = "none"
    wins: int = 0
    losses: int = 0
    detectable: float = math.nan
    higher_is_better: bool = True
    verdict: str = "refused"
    reason: str = ""


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
    """Compare every system with a baseline, task by task, on the same documents.

    Args:
        runs: Runs of the systems.
        baseline: Name of the baseline: a model, or ``model/run`` with ``by="run"``.
        by: ``model`` or ``run``, what counts as a system.
        tasks: Only these tasks and groups.
        intersect: Compare the documents that agree instead of refusing a task where some do not.
        ignore: Hashes that need not agree: ``prompt`` (chat templates differ) or ``target``.
        alpha: Level of the verdicts, after Holm's adjustment over the tasks of a model.
        seed: Seed of bootstrap and randomisation.
        draws: Draws of bootstrap and randomisation.

    Returns:
        A row per model, task and group, with the fields of :class:`ComparedTask`.

    Raises:
        AnalysisError: The baseline is unknown, there is nothing to compare it with, or no task of any system
            may be compared.
    """
    unknown = set(ignore) - {"prompt", "target"}
    if unknown:
        raise AnalysisError(f"{sorted(unknown)[0]!r} cannot be ignored", hint="prompt and target can")
    known = systems(runs, by=by)
    base = find_system(known, baseline)
    others = [system for system in known if system.name != baseline]
    if not others:
        raise AnalysisError(
            "there is nothing to compare the baseline with", hint="load runs of a second model"
        )
    settings = _Settings(intersect, frozenset(ignore), alpha, seed, draws)
    theirs = SystemDocuments(base, base.runs)
    rows = [row for system in others for row in _compare_system(system, base, theirs, tasks, settings)]
    if not rows:
        raise AnalysisError("the systems have no task in common", hint="run both on the same tasks")
    if all(row.verdict == "refused" for row in rows):
        raise AnalysisError(
            "nothing may be compared",
            where=f"{rows[0].task}: {rows[0].reason}",
            hint="run both on the same documents and prompts, or compare those that agree (intersect)",
        )
    return pd.DataFrame(rows, columns=[field.name for field in fields(ComparedTask)])


@dataclass(frozen=True)
class _Settings:
    intersect: bool
    ignore: frozenset[str]
    alpha: float
    seed: int
    draws: int


def _compare_system(
    system: System,
    base: System,
    theirs: SystemDocuments,
    tasks: Sequence[str] | None,
    settings: _Settings,
) -> list[ComparedTask]:
    shared = [name for name in base.runs if name in system.runs and (tasks is None or name in tasks)]
    needed = shared
    groups = [
        str(name)
        for name in base.scores.index[base.scores["kind"] == "group"]
        if name in system.scores.index and (tasks is None or name in tasks)
    ]
    if tasks is not None:  # a group that was asked for needs its tasks
        inside = [task for group in groups for task in group_weights(base.scores, group)]
        needed = list(dict.fromkeys([*shared, *(t for t in inside if t in base.runs and t in system.runs)]))
    mine = SystemDocuments(system, needed)
    rows = {task: _compare_task(task, (system, mine), (base, theirs), settings) for task in needed}
    adjusted = dict(zip(rows, holm([row.p_value for row in rows.values()]), strict=True))
    rows = {task: _judge(row, float(adjusted[task]), settings.alpha) for task, row in rows.items()}
    averages = [_compare_group(group, rows, system, base, settings.alpha) for group in groups]
    return [*averages, *rows.values()]


def _compare_task(
    task: str,
    candidate: tuple[System, SystemDocuments],
    baseline: tuple[System, SystemDocuments],
    settings: _Settings,
) -> ComparedTask:
    (system, answers), (base, base_answers) = candidate, baseline
    mine, theirs = system.scores.loc[task], base.scores.loc[task]
    start: dict[str, Any] = {
        "model": system.name,
        "baseline": base.name,
        "task": task,
        "kind": "task",
        "metric": str(theirs["metric"]),
        "unit": shared_unit((mine["unit"], theirs["unit"])),
        "higher_is_better": not lower_is_better(theirs),
    }
    for name in ("metric", "aggregation", "filter"):
        if mine[name] != theirs[name]:
            return ComparedTask(**start, reason=f"the {name} differs: {mine[name]} and {theirs[name]}")
    if mine["aggregation"] not in AGGREGATIONS:
        return ComparedTask(**start, reason=f"no paired test is known for {mine['aggregation']}")
    try:
        one, two = answers.read(task), base_answers.read(task)
    except AnalysisError as error:
        return ComparedTask(**start, reason=str(error.what))
    documents, reasons = differences(one, two, ignore=settings.ignore)
    note = "; ".join(reasons).replace("the first", system.name).replace("the second", base.name)
    if reasons and not settings.intersect:
        return ComparedTask(**start, reason=note)
    if not len(documents):
        return ComparedTask(**start, reason=f"no document agrees: {note}")
    try:
        return _paired_row(start, one, two, documents, note, settings)
    except StatisticsError as error:
        return ComparedTask(**start, reason=str(error.what))


def _paired_row(
    start: dict[str, Any],
    one: TaskDocuments,
    two: TaskDocuments,
    documents: Any,
    note: str,
    settings: _Settings,
) -> ComparedTask:
    mine, theirs = one.values(documents), two.values(documents)
    clusters = one.frame.loc[documents, "cluster"].to_numpy()
    found = paired(mine, theirs, one.aggregation, clusters, seed=settings.seed, draws=settings.draws)
    return ComparedTask(
        **start,
        n=found.n,
        score=sufficient(mine, one.aggregation).value,
        baseline_score=sufficient(theirs, one.aggregation).value,
        difference=found.difference,
        low=found.low,
        high=found.high,
        interval=found.interval,
        p_value=found.p_value,
        test=found.test,
        wins=found.wins,
        losses=found.losses,
        detectable=minimal_detectable_effect(found.standard_error),
        verdict="undecided",
        reason=note,
    )


def _judge(row: ComparedTask, adjusted: float, alpha: float) -> ComparedTask:
    if row.verdict == "refused":
        return row
    verdict = "undecided"
    if adjusted <= alpha:
        verdict = "better" if (row.difference > 0) == row.higher_is_better else "worse"
    return replace(row, p_holm=adjusted, verdict=verdict)


def _compare_group(
    group: str, rows: dict[str, ComparedTask], system: System, base: System, alpha: float
) -> ComparedTask:
    start: dict[str, Any] = {
        "model": system.name,
        "baseline": base.name,
        "task": group,
        "kind": "group",
        "metric": str(base.scores.at[group, "metric"]),
        "unit": shared_unit(side.scores.at[group, "unit"] for side in (system, base)),
    }
    weights = group_weights(base.scores, group)
    if group_weights(system.scores, group).keys() != weights.keys():
        return ComparedTask(**start, reason="the group has other members")
    lacking = [task for task in weights if task not in rows or rows[task].verdict == "refused"]
    if lacking:
        return ComparedTask(**start, reason=f"cannot be averaged without {', '.join(lacking)}")
    members = [rows[task] for task in weights]
    if not all(row.higher_is_better for row in members):
        return ComparedTask(**start, reason="lower is better in some tasks")
    shares = list(weights.values())
    found = average_interval(
        [Interval(row.difference, row.low, row.high, row.interval, row.n) for row in members], shares
    )
    # The tasks are independent samples of documents, so that their errors add in squares.
    error = math.sqrt(sum((w * row.detectable / _REACH) ** 2 for w, row in zip(shares, members, strict=True)))
    # The p value belongs to the interval: the error is what reaches from the difference towards zero. Members
    # without a flip have no error of their own, and a few documents would otherwise look certain.
    reach = found.value - found.low if found.value > 0 else found.high - found.value
    p = 2 * float(special.ndtr(-abs(found.value) * _TWO_SIDED / reach)) if reach > 0 else math.nan
    decided = p <= alpha
    return ComparedTask(
        **start,
        n=found.n,
        score=sum(w * row.score for w, row in zip(shares, members, strict=True)),
        baseline_score=sum(w * row.baseline_score for w, row in zip(shares, members, strict=True)),
        difference=found.value,
        low=found.low,
        high=found.high,
        interval=found.method,
        p_value=p,
        test="z",
        wins=sum(row.wins for row in members),
        losses=sum(row.losses for row in members),
        detectable=minimal_detectable_effect(error),
        verdict=("better" if found.value > 0 else "worse") if decided else "undecided",
    )


# Standard errors in the detectable differences of the rows.
_REACH = minimal_detectable_effect(1.0)
# Standard errors on either side of an interval of 95%.
_TWO_SIDED = float(special.ndtri(0.975))
