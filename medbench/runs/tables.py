"""From what lm-eval logged to the tables of a run (columns: docs/architecture.md)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from medbench.data.documents import ANNOTATIONS
from medbench.runs.directory import RunDirectory, replacing
from medbench.runs.extras import extra
from medbench.runs.metrics import ABSENT, aggregation_names, as_number, main_metric
from medbench.runs.schema import ANNOTATION, SAMPLES, SCORES, value_column
from medbench.runs.values import as_json, column_of, storable
from medbench.scoring.reasoning import parts
from medbench.statistics.corpus import CORPUS_AGGREGATIONS

if TYPE_CHECKING:
    from medbench.models import RoutingCounts
    from medbench.statistics import Interval

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskSamples:
    """The documents of one task, scored.

    Attributes:
        rows: A dict per document with the fixed columns of ``samples.parquet``.
        metrics: For each metric the documents' values in the order of ``rows``, as its aggregation takes
            them; ``ABSENT`` where the task gave a document none.
        aggregations: Name of the aggregation of each metric.
        further: Likewise the metrics of each further filter pipeline, by the pipeline's name.
    """

    rows: list[dict[str, Any]]
    metrics: dict[str, list[Any]] = field(default_factory=dict)
    aggregations: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, dict[str, list[Any]]] = field(default_factory=dict)

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

    def columns(self) -> dict[str, Any]:
        """The row by the names of its columns."""
        limits = ("low", "high", "method")
        low, high, method = (getattr(self.interval, name) if self.interval else None for name in limits)
        own = {name: getattr(self, name) for name in SCORES.names if hasattr(self, name)}
        return {**self.details, **own, "low": low, "high": high, "interval": method}


def collect_samples(
    task: Any,
    logged: Sequence[Mapping[str, Any]],
    further: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> TaskSamples:
    """Turn the samples that lm-eval logged for one task into rows and metric columns.

    A column that cannot be made of some document, whatever the task's documents hold, is left empty there and
    said once; the values of metrics are always kept.

    Args:
        task: The lm-eval task, asked for the choices of its documents.
        logged: lm-eval's sample records of the first filter pipeline.
        further: Those of other pipelines, the same documents in the same order.
    """
    name = str(task.config.task)
    metrics = _metric_values(logged)
    aggregations = aggregation_names(task, metrics)
    main = main_metric(task, metrics)
    # What only all documents together are scored by says nothing of how right one of them is.
    plain = aggregations.get(main) not in CORPUS_AGGREGATIONS
    faults: dict[str, str] = {}
    rows = []
    for sample, names in zip(logged, _documents(logged), strict=True):
        row: dict[str, Any] = {
            "task": name,
            "doc_id": sample["doc_id"],
            **names,
            **{key: sample[key] for key in ("doc_hash", "prompt_hash", "target_hash")},
            "filter": sample["filter"],
        }
        for what, make in _MAKERS.items():
            try:
                row |= make(task, sample)
            except Exception as error:  # noqa: BLE001 - documents from outside may hold anything
                faults.setdefault(what, f"{type(error).__name__}: {error}")
        row["score"] = as_number(sample.get(main)) if plain else None
        rows.append(row)
    for what, why in faults.items():
        _LOG.warning("%s: the %s of some documents cannot be shown: %s", name, what, why)
    others = {pipeline: _metric_values(samples) for pipeline, samples in (further or {}).items()}
    every = dict.fromkeys(metric for values in (metrics, *others.values()) for metric in values)
    return TaskSamples(rows, metrics, aggregation_names(task, every), others)


def samples_table(tasks: Iterable[TaskSamples]) -> pa.Table:
    """Join the documents of all tasks into one table, with a column per metric and filter pipeline."""
    parts = []
    for samples in tasks:
        with extra(f"the table of documents of {samples.rows[0]['task'] if samples.rows else 'a task'}"):
            parts.append(_task_table(samples))
    if not parts:
        return SAMPLES.empty_table()
    return pa.concat_tables(parts, promote_options="default").unify_dictionaries()


def _task_table(samples: TaskSamples) -> pa.Table:
    columns = {
        field.name: pa.array([_cell(row.get(field.name)) for row in samples.rows], field.type)
        for field in SAMPLES
    }
    columns["task"] = columns["task"].dictionary_encode()
    for name in sorted({key for row in samples.rows for key in row if key.startswith(ANNOTATION)}):
        columns[name] = pa.array([_cell(row.get(name)) for row in samples.rows], pa.string())
    for pipeline, metrics in (("", samples.metrics), *samples.further.items()):
        for metric, values in metrics.items():
            kind, column = column_of(values, samples.aggregations.get(metric, "mean"))
            columns[value_column(kind, metric, pipeline)] = column
    return pa.table(columns)


def scores_table(rows: Sequence[ScoreRow]) -> pa.Table:
    """The table of ``scores.parquet``."""
    return pa.Table.from_pylist([row.columns() for row in rows], schema=SCORES)


def _cell(value: Any) -> Any:
    return [storable(item) for item in value] if isinstance(value, list) else storable(value)


def _metric_values(logged: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Values by metric; a task need not give every metric for every document."""
    names = dict.fromkeys(name for sample in logged for name in sample["metrics"])
    return {
        name: [sample[name] if name in sample["metrics"] else ABSENT for sample in logged] for name in names
    }


def _documents(logged: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Name and cluster of each document. A column ``id`` need not tell documents apart; names do."""
    seen: Counter[str] = Counter()
    found = []
    for sample in logged:
        doc = sample["doc"] if isinstance(sample["doc"], Mapping) else {}
        known = doc.get("id")
        name = str(sample["doc_id"] if known in (None, "") else known)
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name}#{seen[name] - 1}"
        found.append({"document": name, "cluster": str(doc.get("cluster") or name)})
    return found


def _prompt(task: Any, sample: Mapping[str, Any]) -> dict[str, Any]:
    del task
    return {"prompt": str(sample["arguments"][0][0])}


def _target(task: Any, sample: Mapping[str, Any]) -> dict[str, Any]:
    target = sample["target"]
    if task.OUTPUT_TYPE == "multiple_choice" and getattr(task, "multiple_input", 0):
        target = task.doc_to_text(sample["doc"])  # the options are prompts, and this numbers the right one
    if isinstance(target, int) and task.OUTPUT_TYPE == "multiple_choice":
        choices = task.doc_to_choice(sample["doc"])
        target = str(choices[target]) if 0 <= target < len(choices) else str(target)
    return {"target": target if isinstance(target, str) else as_json(target)}


def _answer(task: Any, sample: Mapping[str, Any]) -> dict[str, Any]:
    if task.OUTPUT_TYPE == "multiple_choice":
        return _choice_columns(task.doc_to_choice(sample["doc"]), sample["filtered_resps"])
    return _text_columns(sample)


def _choice_columns(choices: Sequence[str], responses: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    # Further responses are those to the options alone, without the prompt (acc_mutual_info).
    logprobs = [float(logprob) for logprob, _ in responses[: len(choices)]]
    chosen = str(choices[max(range(len(logprobs)), key=logprobs.__getitem__)])
    return {
        "response": chosen,
        "answer": chosen,
        "choices": [str(choice) for choice in choices],
        "choice_logprobs": logprobs,
    }


def _text_columns(sample: Mapping[str, Any]) -> dict[str, Any]:
    """What the model wrote, and what filters or the reader of exams made of it."""
    from medbench.scoring.exams import read_answer

    written, read = sample["resps"][0][0], sample["filtered_resps"][0]
    doc = sample["doc"]
    columns = {
        "response": getattr(written, "raw", str(written)),
        "first_pass": getattr(written, "first_pass", None),
        "second_pass": getattr(written, "second_pass", None),
        "truncated": getattr(written, "truncated", None),
        "answered": bool(parts(written).answer.strip()) if isinstance(written, str) else None,
        "thinking_tokens": getattr(written, "thinking_tokens", None),
        "thinking_closed": getattr(written, "closed", None),
    }
    if isinstance(doc, Mapping) and {"letters", "options"} <= doc.keys():
        columns["answer"] = read_answer(doc, read)
    elif read != written:
        columns["answer"] = read if isinstance(read, str) else as_json(read)
    return columns


def _annotations(task: Any, sample: Mapping[str, Any]) -> dict[str, Any]:
    del task
    return annotations_of(sample["doc"])


def annotations_of(doc: Any) -> dict[str, str]:
    """What a document's file says about it beside the question, by column; empty texts are nothing."""
    fields = doc if isinstance(doc, Mapping) else {}
    said = fields.get(ANNOTATIONS)
    found = dict(said) if isinstance(said, Mapping) else {}
    texts = {
        "subject": fields.get("subject"),
        **{f"{ANNOTATION}{name}": text for name, text in found.items()},
    }
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


# What makes the columns that depend on what documents hold, by what a warning calls it.
_MAKERS: dict[str, Callable[[Any, Mapping[str, Any]], dict[str, Any]]] = {
    "prompt": _prompt,
    "target": _target,
    "answer": _answer,
    "annotations": _annotations,
}


def write_tables(
    directory: RunDirectory,
    samples: Sequence[TaskSamples],
    scored: Sequence[ScoreRow],
    routing: RoutingCounts | None,
) -> None:
    """Write the tables, the scores last: a folder with scores has everything else."""
    import pyarrow.parquet as pq

    with replacing(directory.samples) as temporary:
        pq.write_table(samples_table(samples), temporary, compression="zstd")
    if routing is not None:
        done = {row["task"] for part in samples for row in part.rows[:1]}
        with extra("routing"):
            frame = routing.to_frame()
            with replacing(directory.routing) as temporary:
                frame[frame["task"].isin(done)].to_parquet(temporary, compression="zstd", index=False)
    with replacing(directory.scores) as temporary:
        pq.write_table(scores_table(scored), temporary, compression="zstd")
