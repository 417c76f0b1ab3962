"""One row of a comparison: two systems on a task or group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import pandas as pd
from scipy import special

from medbench.analysis.documents import SystemDocuments, TaskDocuments, differences
from medbench.analysis.groups import group_weights, lower_is_better
from medbench.analysis.pairing import differing
from medbench.analysis.systems import System
from medbench.analysis.units import Unit, shared_unit
from medbench.errors import AnalysisError, StatisticsError
from medbench.statistics import (
    AGGREGATIONS,
    Interval,
    average_interval,
    minimal_detectable_effect,
    paired,
    sufficient,
)


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
        p_adjusted: Adjusted over the tasks of the model (Holm); NaN for groups, which are no further tests.
        test: ``mcnemar-exact`` or ``randomisation``; ``z`` for groups, from their interval.
        wins: Documents on which the model scored higher.
        losses: Documents on which it scored lower.
        detectable: Smallest true difference that a test of this size finds with 80 % power; never 0, NaN
            where nothing bounds it.
        higher_is_better: Direction of the metric.
        verdict: ``better``, ``worse``, ``undecided`` or ``refused``, by ``p_adjusted`` (of a group by its
            ``p_value``).
        unadjusted: The verdict by ``p_value``, to which the interval belongs.
        reason: Why it was refused, or what was left out of the comparison.
        run: Run that answers for the model.
        baseline_run: Run that answers for the baseline.
        conditions: Conditions of the model, as a line.
        baseline_conditions: Those of the baseline.
        differing: What differs between them on this task; empty if nothing is known to.
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
    p_adjusted: float = math.nan
    test: str = "none"
    wins: int = 0
    losses: int = 0
    detectable: float = math.nan
    higher_is_better: bool = True
    verdict: str = "refused"
    unadjusted: str = "refused"
    reason: str = ""
    run: str = ""
    baseline_run: str = ""
    conditions: str = ""
    baseline_conditions: str = ""
    differing: str = ""


# A row, with more fields where there are some.
Row = TypeVar("Row", bound=ComparedTask)


@dataclass(frozen=True)
class Wanted:
    """How to compare.

    Attributes:
        intersect: Whether to compare the documents that agree where some do not.
        ignore: Hashes that need not agree.
        alpha: Level of the verdicts.
        seed: Seed of bootstrap and randomization.
        draws: Their draws.
    """

    intersect: bool
    ignore: frozenset[str]
    alpha: float
    seed: int
    draws: int


@dataclass(frozen=True)
class Side:
    """A system and its results by document."""

    system: System
    documents: SystemDocuments


class Pair(NamedTuple):
    """Two systems on a task that may be compared.

    Attributes:
        start: Fields that every row of the task has.
        one: Results of the system.
        two: Results of the baseline.
        documents: Names of those to compare.
        left_out: Which are not compared, and why; empty if all are.
    """

    start: dict[str, Any]
    one: TaskDocuments
    two: TaskDocuments
    documents: pd.Index[Any]
    left_out: str


def compare_task(task: str, candidate: Side, baseline: Side, wanted: Wanted) -> ComparedTask:
    """Compare two systems on a task; a row that is refused says why."""
    found = pair(task, candidate, baseline, wanted)
    return found if isinstance(found, ComparedTask) else compare_documents(found, wanted)


def pair(task: str, candidate: Side, baseline: Side, wanted: Wanted) -> Pair | ComparedTask:
    """Find the documents of a task on which two systems may be compared, or refuse."""
    system, base = candidate.system, baseline.system
    lacking = [side.name for side in (system, base) if task not in side.runs]
    if lacking:
        start = _start(task, "task", system, base)
        return ComparedTask(**start, reason=f"not evaluated for {' or '.join(lacking)}")
    mine, theirs = system.scores.loc[task], base.scores.loc[task]
    start = _start(task, "task", system, base) | {
        "higher_is_better": not lower_is_better(theirs),
        "run": system.runs[task].run,
        "baseline_run": base.runs[task].run,
        "differing": "; ".join(differing(system, base, task)),
    }
    for name in ("metric", "aggregation", "filter"):
        if mine[name] != theirs[name]:
            return ComparedTask(**start, reason=f"the {name} differs: {mine[name]} and {theirs[name]}")
    if mine["aggregation"] not in AGGREGATIONS:
        return ComparedTask(**start, reason=f"no paired test is known for {mine['aggregation']}")
    try:
        one, two = candidate.documents.read(task), baseline.documents.read(task)
    except AnalysisError as error:
        return ComparedTask(**start, reason=str(error.what))
    documents, reasons = differences(one, two, ignore=wanted.ignore)
    note = "; ".join(reasons).replace("the first", system.name).replace("the second", base.name)
    if reasons and not wanted.intersect:
        return ComparedTask(**start, reason=note)
    if not len(documents):
        return ComparedTask(**start, reason=f"no document agrees: {note}")
    return Pair(start, one, two, documents, note)


def _start(task: str, kind: str, system: System, base: System) -> dict[str, Any]:
    rows = [side.scores.loc[task] for side in (base, system) if task in side.scores.index]
    return {
        "model": system.name,
        "baseline": base.name,
        "task": task,
        "kind": kind,
        "metric": str(rows[0]["metric"]) if rows else "",
        "unit": shared_unit(row["unit"] for row in rows),
        "conditions": system.conditions.line(),
        "baseline_conditions": base.conditions.line(),
    }


def compare_documents(task: Pair, wanted: Wanted) -> ComparedTask:
    """Compare two systems on the documents of a task that may be compared."""
    one, two, documents = task.one, task.two, task.documents
    mine, theirs = one.values(documents), two.values(documents)
    clusters = one.frame.loc[documents, "cluster"].to_numpy()
    try:
        found = paired(mine, theirs, one.aggregation, clusters, seed=wanted.seed, draws=wanted.draws)
        scores = [sufficient(side, one.aggregation).value for side in (mine, theirs)]
    except StatisticsError as error:
        return ComparedTask(**task.start, reason=str(error.what))
    return ComparedTask(
        **task.start,
        n=found.n,
        score=scores[0],
        baseline_score=scores[1],
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
        reason=task.left_out,
    )


def judge(row: Row, adjusted: float, alpha: float) -> Row:
    """The row with its adjusted p value and both verdicts.

    Args:
        row: What :func:`compare_task` or :func:`compare_documents` gave.
        adjusted: Its p value, adjusted over the tests that it is one of.
        alpha: Level of the verdicts.
    """
    if row.verdict == "refused":
        return row
    return replace(
        row,
        p_adjusted=adjusted,
        verdict=_verdict(row.difference, adjusted, alpha, row.higher_is_better),
        unadjusted=_verdict(row.difference, row.p_value, alpha, row.higher_is_better),
    )


def _verdict(difference: float, p: float, alpha: float, higher_is_better: bool) -> str:
    if not p <= alpha:
        return "undecided"
    return "better" if (difference > 0) == higher_is_better else "worse"


def compare_group(
    group: str, rows: Mapping[str, ComparedTask], system: System, base: System, alpha: float
) -> ComparedTask:
    """Compare two systems on the average of a group, from the rows of its tasks."""
    start = _start(group, "group", system, base)
    groups = base.groups if group in base.groups else system.groups
    # Both sides by the documents compared: an average over other weights would differ without a reason.
    weights = group_weights(groups, group, {task: row.n for task, row in rows.items()})
    if group in system.groups and group_weights(system.groups, group).keys() != weights.keys():
        return ComparedTask(**start, reason="the group has other members")
    lacking = [task for task in weights if task not in rows or rows[task].verdict == "refused"]
    if lacking:
        return ComparedTask(**start, reason=f"cannot be averaged without {', '.join(lacking)}")
    members = [rows[task] for task in weights]
    start |= {
        "run": ", ".join(system.run_ids(weights)),
        "baseline_run": ", ".join(base.run_ids(weights)),
        "differing": "; ".join(dict.fromkeys(row.differing for row in members if row.differing)),
    }
    if not all(row.higher_is_better for row in members):
        return ComparedTask(**start, reason="lower is better in some tasks")
    shares = list(weights.values())
    found = average_interval(
        [Interval(row.difference, row.low, row.high, row.interval, row.n) for row in members], shares
    )
    # The tasks are independent samples of documents, so that their errors add in squares.
    error = math.sqrt(sum((w * row.detectable / _REACH) ** 2 for w, row in zip(shares, members, strict=True)))
    # The p value belongs to the interval: the error is what reaches from the difference towards zero.
    reach = found.value - found.low if found.value > 0 else found.high - found.value
    p = 2 * float(special.ndtr(-abs(found.value) * _TWO_SIDED / reach)) if reach > 0 else math.nan
    verdict = _verdict(found.value, p, alpha, higher_is_better=True)
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
        verdict=verdict,
        unadjusted=verdict,
    )


# Standard errors in the detectable differences of the rows.
_REACH = minimal_detectable_effect(1.0)
# Standard errors on either side of an interval of 95%.
_TWO_SIDED = float(special.ndtri(0.975))
