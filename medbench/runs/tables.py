"""From what lm-eval logged to the tables of a run (columns: docs/architecture.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from medbench.errors import RunError

if TYPE_CHECKING:
    from medbench.statistics import Interval

__all__ = ["ScoreRow", "TaskSamples", "collect_samples", "samples_table", "scores_table"]

_SAMPLE_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("task", pa.dictionary(pa.int32(), pa.string())),
    ("doc_id", pa.int32()),
    ("document", pa.string()),
    ("cluster", pa.string()),
    ("doc_hash", pa.string()),
    ("prompt_hash", pa.string()),
    ("target_hash", pa.string()),
    ("prompt", pa.string()),
    ("target", pa.string()),
    ("response", pa.string()),
    ("answer", pa.string()),
    ("choices", pa.list_(pa.string())),
    ("choice_logprobs", pa.list_(pa.float64())),
    ("first_pass", pa.string()),
    ("second_pass", pa.string()),
    ("truncated", pa.bool_()),
    ("score", pa.float64()),
    ("filter", pa.string()),
)


@dataclass(frozen=True)
class TaskSamples:
    """The documents of one task, scored.

    Attributes:
        rows: A dict per document with the fixed columns of ``samples.parquet``.
        metrics: For each metric the documents' values in the order of ``rows``: numbers, (tp, fp, fn)
            counts or (gold, predicted) labels.
    """

    rows: list[dict[str, Any]]
    metrics: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def clusters(self) -> list[str]:
        """The cluster of each document."""
        return [row["cluster"] for row in self.rows]


@dataclass(frozen=True)
class ScoreRow:
    """A row of ``scores.parquet``: one metric of one task or group."""

    task: str
    kind: str
    metric: str
    main: bool
    value: float | None
    interval: Interval | None
    n: int
    aggregation: str
    higher_is_better: bool
    filter: str
    details: Mapping[str, Any]


def collect_samples(task: Any, logged: Sequence[Mapping[str, Any]], main_metric: str | None) -> TaskSamples:
    """Turn the samples that lm-eval logged for one task into rows and metric columns.

    Args:
        task: The lm-eval task, asked for the choices of its documents.
        logged: lm-eval's sample records; all of one filter.
        main_metric: The metric that fills ``score``.
    """
    from medbench.scoring.exams import read_answer

    rows: list[dict[str, Any]] = []
    metrics: dict[str, list[Any]] = {name: [] for name in (logged[0]["metrics"] if logged else [])}
    name = task.config.task
    for sample in logged:
        doc = sample["doc"]
        document = str(doc.get("id", sample["doc_id"]))
        row: dict[str, Any] = {
            "task": name,
            "doc_id": sample["doc_id"],
            "document": document,
            "cluster": str(doc.get("cluster") or document),
            "doc_hash": sample["doc_hash"],
            "prompt_hash": sample["prompt_hash"],
            "target_hash": sample["target_hash"],
            "prompt": sample["arguments"][0][0],
            "target": _target(task, sample),
            "filter": sample["filter"],
        }
        if task.OUTPUT_TYPE == "multiple_choice":
            row |= _choice_columns(task.doc_to_choice(doc), sample["filtered_resps"])
        else:
            row |= _text_columns(sample["filtered_resps"][0])
            if "letters" in doc:
                row["answer"] = read_answer(doc, sample["filtered_resps"][0])
        for metric, values in metrics.items():
            values.append(sample[metric])
        main = sample.get(main_metric) if main_metric else None
        row["score"] = float(main) if isinstance(main, Real) else None
        rows.append(row)
    return TaskSamples(rows=rows, metrics=metrics)


def samples_table(tasks: Iterable[TaskSamples]) -> pa.Table:
    """Join the documents of all tasks into one table, with a column per metric.

    Raises:
        RunError: A metric returned something that is neither a number, counts nor labels.
    """
    parts = []
    for samples in tasks:
        columns = {
            name: pa.array([row.get(name) for row in samples.rows], type=kind)
            for name, kind in _SAMPLE_FIELDS
        }
        for metric, values in samples.metrics.items():
            name, column = _metric_column(metric, values)
            columns[name] = column
        parts.append(pa.table(columns))
    if not parts:
        return pa.schema(list(_SAMPLE_FIELDS)).empty_table()
    return pa.concat_tables(parts, promote_options="default").unify_dictionaries()


def scores_table(rows: Sequence[ScoreRow]) -> pa.Table:
    """The table of ``scores.parquet``."""
    return pa.table(
        {
            "task": pa.array([row.task for row in rows], pa.string()),
            "kind": pa.array([row.kind for row in rows], pa.string()),
            "metric": pa.array([row.metric for row in rows], pa.string()),
            "main": pa.array([row.main for row in rows], pa.bool_()),
            "value": pa.array([row.value for row in rows], pa.float64()),
            "low": pa.array([row.interval.low if row.interval else None for row in rows], pa.float64()),
            "high": pa.array([row.interval.high if row.interval else None for row in rows], pa.float64()),
            "interval": pa.array(
                [row.interval.method if row.interval else None for row in rows], pa.string()
            ),
            "n": pa.array([row.n for row in rows], pa.int64()),
            "aggregation": pa.array([row.aggregation for row in rows], pa.string()),
            "higher_is_better": pa.array([row.higher_is_better for row in rows], pa.bool_()),
            "filter": pa.array([row.filter for row in rows], pa.string()),
            **{
                name: pa.array([row.details.get(name) for row in rows], kind)
                for name, kind in (
                    ("num_fewshot", pa.int64()),
                    ("protocol", pa.string()),
                    ("language", pa.string()),
                    ("family", pa.string()),
                    ("version", pa.string()),
                    ("dataset", pa.string()),
                    ("data_source", pa.string()),
                    ("members", pa.list_(pa.string())),
                )
            },
        }
    )


def _target(task: Any, sample: Mapping[str, Any]) -> str:
    target = sample["target"]
    if isinstance(target, int) and task.OUTPUT_TYPE == "multiple_choice":
        choices = task.doc_to_choice(sample["doc"])
        return str(choices[target]) if 0 <= target < len(choices) else str(target)
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False, default=str)


def _choice_columns(choices: Sequence[str], responses: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    logprobs = [float(logprob) for logprob, _ in responses[: len(choices)]]
    chosen = str(choices[int(np.argmax(logprobs))])
    return {
        "response": chosen,
        "answer": chosen,
        "choices": [str(choice) for choice in choices],
        "choice_logprobs": logprobs,
    }


def _text_columns(response: Any) -> dict[str, Any]:
    return {
        "response": getattr(response, "raw", str(response)),
        "first_pass": getattr(response, "first_pass", None),
        "second_pass": getattr(response, "second_pass", None),
        "truncated": getattr(response, "truncated", None),
    }


def _metric_column(metric: str, values: Sequence[Any]) -> tuple[str, pa.Array]:
    first = values[0]
    if isinstance(first, (Real, np.generic)):
        return f"metric.{metric}", pa.array([float(value) for value in values], pa.float64())
    if (
        isinstance(first, Sequence)
        and len(first) == 3
        and all(isinstance(item, (int, np.integer)) for item in first)
    ):
        return f"counts.{metric}", pa.array(
            [[int(item) for item in value] for value in values], pa.list_(pa.int64())
        )
    if isinstance(first, Sequence) and len(first) == 2 and not isinstance(first, str):
        return f"labels.{metric}", pa.array(
            [[str(item) for item in value] for value in values], pa.list_(pa.string())
        )
    raise RunError(
        f"metric {metric!r} gave {first!r}, which is neither a number, (tp, fp, fn) nor (gold, predicted)",
        hint="let process_results return one of these; see docs/architecture.md",
    )
