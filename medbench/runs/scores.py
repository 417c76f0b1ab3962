"""Rows of ``scores.parquet``: each metric of each task with its interval, and the averages of the groups."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medbench.catalog.groups import Aggregate
from medbench.data.robustness import right_in_every_rotation
from medbench.runs.estimates import estimate
from medbench.runs.metrics import ABSENT, as_number, main_metric
from medbench.runs.tables import ScoreRow, TaskSamples, collect_samples

if TYPE_CHECKING:
    from medbench.runs.harness import TaskResult

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """A suite or benchmark to average over.

    Attributes:
        name: The group's name.
        members: Tasks and groups directly below it.
        macro: Whether the main average weighs members equally (a suite) or by documents (a benchmark that is
            cut into subjects).
        aggregates: Averages that lm-eval takes of it.
    """

    name: str
    members: tuple[str, ...]
    macro: bool
    aggregates: tuple[Aggregate, ...] = ()


def score_task(
    result: TaskResult, *, data_source: str, seed: int, circular: bool = False
) -> tuple[TaskSamples, list[ScoreRow]]:
    """Score one task: each value as lm-eval aggregated it, and an interval from its documents.

    Every metric of every filter pipeline is scored. A score without an interval is said in a warning.

    Args:
        result: What lm-eval returned.
        data_source: Where they came from.
        seed: Seeds bootstrap intervals.
        circular: Whether questions were asked in every rotation of their options; adds ``acc_circular``, the
            share of questions answered rightly in all of them
            (:func:`~medbench.data.robustness.right_in_every_rotation`).

    Returns:
        The task's documents, and a row per metric and pipeline.
    """
    from medbench.statistics import Interval, interval

    task = result.task
    samples = collect_samples(task, result.samples, result.further)
    aggregations, direction = task.aggregation() or {}, task.higher_is_better() or {}
    main = main_metric(task, samples.metrics)
    details = _details(task, data_source) | {"sample_len": _sample_length(samples)}

    def row(metric: str, value: float | None, found: Interval, aggregation: str, pipeline: str) -> ScoreRow:
        return ScoreRow(
            task=result.name,
            kind="task",
            metric=metric,
            main=metric == main and pipeline == result.filter,
            value=value,
            interval=found,
            n=found.n,
            aggregation=aggregation,
            higher_is_better=direction.get(metric) is not False,
            filter=pipeline,
            details=details,
        )

    rows = []
    for pipeline, metrics in ((result.filter, samples.metrics), *samples.further.items()):
        for metric, documents in metrics.items():
            value = as_number(result.scores.get(f"{metric},{pipeline}"))
            found = estimate(
                metric, value, documents, aggregations.get(metric), clusters=samples.clusters, seed=seed
            )
            if found.why:
                _LOG.warning(
                    "%s: no interval for %s (filter %s): %s", result.name, metric, pipeline, found.why
                )
            rows.append(row(metric, value, found.interval, samples.aggregations[metric], pipeline))
    if not rows:
        _LOG.warning("%s: its scoring gives no metric (%s was named)", result.name, main)
        nothing = Interval(math.nan, math.nan, math.nan, "none", len(samples.rows))
        rows.append(row(main, None, nothing, "mean", result.filter))
    if circular:
        asked = [doc if isinstance(doc := sample["doc"], dict) else {} for sample in result.samples]
        right = right_in_every_rotation(asked, [row["score"] for row in samples.rows])
        if right:
            circle = interval([float(all_right) for all_right in right.values()], "mean", seed=seed)
            rows.append(row("acc_circular", circle.value, circle, "mean", result.filter))
    return samples, rows


def _sample_length(samples: TaskSamples) -> int:
    """Documents of a task as lm-eval counts them: the most that any metric was given for."""
    every = (samples.metrics, *samples.further.values())
    counts = [sum(v is not ABSENT for v in values) for metrics in every for values in metrics.values()]
    return max(counts, default=len(samples.rows))


def _details(task: Any, data_source: str) -> dict[str, Any]:
    metadata = task.config.metadata if isinstance(task.config.metadata, Mapping) else {}
    texts = {
        name: None if (value := metadata.get(name)) is None else str(value)
        for name in ("protocol", "language", "family", "dataset")
    }
    version = metadata.get("version")
    shots = task.config.num_fewshot
    return {
        **texts,
        "num_fewshot": None if shots is None else int(shots),
        "version": "" if version is None else str(version),
        "data_source": data_source,
    }


def group_rows(groups: Sequence[Group], scored: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Average over groups, innermost first.

    Every group has the average of its members' main metrics, plain and weighted by documents; with a member
    missing, or with scores that have no average, it has no value. A group that lists metrics to aggregate
    also has the averages that lm-eval takes of it. One of these stands for the group if the main metrics
    agree with it.

    Args:
        groups: Groups in any order; members may be groups.
        scored: Rows of all tasks of the run.
    """
    known = {row.task: row for row in scored if row.main}
    rows: list[ScoreRow] = []
    waiting = list(groups)
    names = {group.name: group for group in groups}
    while waiting:
        ready = [group for group in waiting if all(m not in names or m in known for m in group.members)]
        if not ready:  # a cycle, which the catalog refuses
            break
        for group in ready:
            waiting.remove(group)
            leaves = _leaves(group, names)
            listed = [
                row for aggregate in group.aggregates for row in _aggregated(group, aggregate, leaves, scored)
            ]
            found = _averages(group, [known.get(member) for member in group.members])
            main = next((row for row in listed if _stands_for(row, leaves, known)), None) or next(
                row for row in found if (row.aggregation == "macro") == group.macro
            )
            rows += [replace(row, main=row is main) for row in (*found, *listed)]
            known[group.name] = main
    return rows


def _averages(group: Group, members: Sequence[ScoreRow | None]) -> list[ScoreRow]:
    """The averages of the members' main metrics."""
    present = [member for member in members if member is not None]
    complete = len(present) == len(members) and all(member.value is not None for member in present)
    if complete and (why := _no_average(present)):
        _LOG.warning("%s: its members have no average: %s", group.name, why)
        complete = False
    down = bool(present) and not any(member.higher_is_better for member in present)
    return [
        _group_row(
            group.name,
            f"{weighting}_average",
            "none",
            present,
            [1.0 if weighting == "macro" else float(member.n) for member in present] if complete else None,
            weighting,
            higher_is_better=not down,
            members=group.members,
        )
        for weighting in ("macro", "weighted")
    ]


def _no_average(members: Sequence[ScoreRow]) -> str:
    """Why scores have no average; empty if they have one."""
    if len({member.higher_is_better for member in members}) > 1:
        return "lower is better in some and higher in others"
    values = [member.value for member in members if member.value is not None]
    if len({member.metric for member in members}) > 1 and not all(0 <= value <= 1 for value in values):
        return "their metrics are counted in different units"
    return ""


def _leaves(group: Group, groups: Mapping[str, Group]) -> tuple[str, ...]:
    """Tasks in a group and in the groups within it, each once."""
    found: dict[str, None] = {}
    for member in group.members:
        inner = groups.get(member)
        found |= dict.fromkeys((member,) if inner is None else _leaves(inner, groups))
    return tuple(found)


def _aggregated(
    group: Group, aggregate: Aggregate, leaves: Sequence[str], scored: Sequence[ScoreRow]
) -> list[ScoreRow]:
    """The averages of one metric as lm-eval takes them: over the tasks that have it, one per pipeline."""
    mine = [row for row in scored if row.task in leaves and row.metric == aggregate.metric]
    rows = []
    for pipeline in aggregate.filters or sorted({row.filter for row in mine}):
        having = [row for row in mine if row.filter == pipeline and row.value is not None]
        if lacking := sorted(set(leaves) - {row.task for row in having}):
            _LOG.warning(
                "%s: %s (filter %s) is averaged without %s, which lack it",
                group.name,
                aggregate.metric,
                pipeline,
                ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""),
            )
        if having:
            rows.append(
                _group_row(
                    group.name,
                    aggregate.metric,
                    pipeline,
                    having,
                    [float(row.details["sample_len"]) if aggregate.by_size else 1.0 for row in having],
                    "weighted" if aggregate.by_size else "macro",
                    higher_is_better=having[0].higher_is_better,
                    members=[row.task for row in having],
                )
            )
    return rows


def _stands_for(row: ScoreRow, leaves: Sequence[str], known: Mapping[str, ScoreRow]) -> bool:
    """Whether an average is over all tasks and of the very scores that stand for them."""
    mains = [known[leaf] for leaf in leaves if leaf in known]
    return len(mains) == len(leaves) == len(row.details["members"]) and all(
        (main.metric, main.filter) == (row.metric, row.filter) for main in mains
    )


def _group_row(
    name: str,
    metric: str,
    pipeline: str,
    parts: Sequence[ScoreRow],
    weights: Sequence[float] | None,
    aggregation: str,
    *,
    higher_is_better: bool,
    members: Sequence[str],
) -> ScoreRow:
    """A row of averages; without weights it has no value."""
    from medbench.statistics import average_interval

    intervals = [part.interval for part in parts if part.interval is not None]
    average = None
    if weights is not None and len(intervals) == len(parts) and sum(weights) > 0:
        average = average_interval(intervals, weights)
    return ScoreRow(
        task=name,
        kind="group",
        metric=metric,
        main=False,
        value=average.value if average else None,
        interval=average,
        n=sum(part.n for part in parts),
        aggregation=aggregation,
        higher_is_better=higher_is_better,
        filter=pipeline,
        details={"members": list(members), **_common(parts)},
    )


def _common(rows: Sequence[ScoreRow]) -> dict[str, Any]:
    """Details that all members agree on; documents from several sources are ``mixed``."""
    sources = {row.details.get("data_source") for row in rows}
    shared: dict[str, Any] = {"data_source": sources.pop() if len(sources) == 1 else "mixed"}
    for name in ("num_fewshot", "protocol", "language", "family"):
        values = {row.details.get(name) for row in rows}
        shared[name] = values.pop() if len(values) == 1 else None
    return shared
