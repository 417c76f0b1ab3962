"""Rows of ``scores.parquet``: each metric of each task with its interval, and the averages of the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from medbench.runs.tables import ScoreRow, TaskSamples

if TYPE_CHECKING:
    from medbench.runs.harness import TaskResult
    from medbench.statistics import Interval

__all__ = ["Group", "group_rows", "main_metric", "task_rows"]


# Means of overlaps between texts: skewed and bounded, so that their intervals are resampled.
_RESAMPLED = ("rouge_", "bleu_")


@dataclass(frozen=True)
class Group:
    """A suite or benchmark to average over.

    Attributes:
        name: The group's name.
        members: Tasks and groups directly below it.
        macro: Whether the main average weighs members equally (a suite) or by documents (a benchmark that is
            cut into subjects).
    """

    name: str
    members: tuple[str, ...]
    macro: bool


def main_metric(task: Any) -> str:
    """The metric that stands for the task: ``metadata.main_metric``, else the first one listed."""
    metadata = task.config.metadata or {}
    return str(metadata.get("main_metric") or next(iter(task.aggregation())))


def task_rows(
    result: TaskResult, samples: TaskSamples, *, data_source: str, seed: int, circular: bool = False
) -> list[ScoreRow]:
    """Score one task: the value as lm-eval aggregated it, and an interval from its documents.

    Args:
        result: What lm-eval returned.
        samples: The task's documents, scored.
        data_source: Where they came from.
        seed: Seeds bootstrap intervals.
        circular: Whether questions were asked in every rotation of their options; adds ``acc_circular``, the
            share of questions answered rightly in all of them.
    """
    from medbench.statistics import interval

    task = result.task
    metadata = task.config.metadata or {}
    main = main_metric(task)
    aggregations, direction = task.aggregation(), task.higher_is_better()
    values = result.results["results"][result.name]
    details = {
        "num_fewshot": task.config.num_fewshot,
        "protocol": metadata.get("protocol"),
        "language": metadata.get("language"),
        "family": metadata.get("family"),
        "version": str(metadata.get("version", "")),
        "dataset": metadata.get("dataset"),
        "data_source": data_source,
    }

    def row(metric: str, value: float | None, estimate: Interval, aggregation: str) -> ScoreRow:
        return ScoreRow(
            task=result.name,
            kind="task",
            metric=metric,
            main=metric == main,
            value=estimate.value if value is None else value,
            interval=estimate,
            n=estimate.n,
            aggregation=aggregation,
            higher_is_better=bool(direction.get(metric, True)),
            filter=result.filter,
            details=details,
        )

    rows = []
    for metric, documents in samples.metrics.items():
        aggregation = getattr(aggregations.get(metric), "__name__", "mean")
        method: Literal["auto", "bootstrap"] = "bootstrap" if metric.startswith(_RESAMPLED) else "auto"
        estimate = interval(documents, aggregation, clusters=samples.clusters, seed=seed, method=method)
        rows.append(row(metric, float(values[f"{metric},{result.filter}"]), estimate, aggregation))
    if circular and (rotations := _right_in_every_rotation(samples)):
        rows.append(row("acc_circular", None, interval(rotations, "mean", seed=seed), "mean"))
    return rows


def _right_in_every_rotation(samples: TaskSamples) -> list[float]:
    """For each question that was rotated, 1 if it was answered rightly in every rotation, else 0."""
    right: dict[str, bool] = {}
    for row in samples.rows:
        question, mark, _ = row["document"].rpartition("@")
        if mark and row["score"] is not None:
            right[question] = right.get(question, True) and row["score"] >= 1.0
    return [float(all_right) for all_right in right.values()]


def group_rows(groups: Sequence[Group], scored: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Average the main metrics over groups, innermost first; a group with a member missing has no value.

    Args:
        groups: Groups in any order; members may be groups.
        scored: Rows of all tasks of the run.
    """
    from medbench.statistics import average_interval

    known = {row.task: row for row in scored if row.main}
    rows: list[ScoreRow] = []
    waiting = list(groups)
    names = {group.name for group in groups}
    while waiting:
        ready = [group for group in waiting if all(m not in names or m in known for m in group.members)]
        if not ready:  # a cycle, which the catalog refuses
            break
        for group in ready:
            waiting.remove(group)
            members = [known.get(member) for member in group.members]
            present = [member for member in members if member is not None]
            intervals = [member.interval for member in present if member.interval is not None]
            complete = len(intervals) == len(members)
            for weighting in ("macro", "weighted"):
                weights = None if weighting == "macro" else [float(member.n) for member in present]
                average = average_interval(intervals, weights) if complete else None
                row = ScoreRow(
                    task=group.name,
                    kind="group",
                    metric=f"{weighting}_average",
                    main=(weighting == "macro") == group.macro,
                    value=average.value if average else None,
                    interval=average,
                    n=sum(member.n for member in present),
                    aggregation=weighting,
                    higher_is_better=True,
                    filter="none",
                    details={"members": list(group.members), **_common(present)},
                )
                rows.append(row)
                if row.main:
                    known[group.name] = row
    return rows


def _common(rows: Sequence[ScoreRow]) -> dict[str, Any]:
    """Details that all members agree on; documents from several sources are ``mixed``."""
    sources = {row.details.get("data_source") for row in rows}
    shared: dict[str, Any] = {"data_source": sources.pop() if len(sources) == 1 else "mixed"}
    for name in ("num_fewshot", "protocol", "language", "family"):
        values = {row.details.get(name) for row in rows}
        shared[name] = values.pop() if len(values) == 1 else None
    return shared
