"""Columns of the tables of a run, written once: whoever makes or reads such a table takes them from here.

A metric's values stand in one column more, ``<kind>.<metric>``, with ``,<pipeline>`` behind it for those of a
further filter pipeline. docs/architecture.md says what each column means.
"""

from __future__ import annotations

import pyarrow as pa

#: What a document's file says about it stands in columns that begin so.
ANNOTATION = "annotation."

#: Kinds of columns that hold a metric's values: a number, (tp, fp, fn), (gold, predicted), anything as JSON.
VALUE_KINDS = ("metric", "counts", "labels", "items")

_TEXT = pa.string()

#: A row per task and document.
SAMPLES = pa.schema(
    [
        ("task", _TEXT),
        ("doc_id", pa.int32()),
        ("document", _TEXT),
        ("cluster", _TEXT),
        ("subject", _TEXT),
        ("doc_hash", _TEXT),
        ("prompt_hash", _TEXT),
        ("target_hash", _TEXT),
        ("prompt", _TEXT),
        ("target", _TEXT),
        ("response", _TEXT),
        ("answer", _TEXT),
        ("choices", pa.list_(_TEXT)),
        ("choice_logprobs", pa.list_(pa.float64())),
        ("first_pass", _TEXT),
        ("second_pass", _TEXT),
        ("truncated", pa.bool_()),
        ("answered", pa.bool_()),
        ("thinking_tokens", pa.int32()),
        ("thinking_closed", pa.bool_()),
        ("score", pa.float64()),
        ("filter", _TEXT),
    ]
)

#: A row per task or group and metric.
SCORES = pa.schema(
    [
        ("task", _TEXT),
        ("kind", _TEXT),
        ("metric", _TEXT),
        ("main", pa.bool_()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("interval", _TEXT),
        ("n", pa.int64()),
        ("aggregation", _TEXT),
        ("higher_is_better", pa.bool_()),
        ("filter", _TEXT),
        ("num_fewshot", pa.int64()),
        ("protocol", _TEXT),
        ("language", _TEXT),
        ("family", _TEXT),
        ("version", _TEXT),
        ("dataset", _TEXT),
        ("data_source", _TEXT),
        ("members", pa.list_(_TEXT)),
    ]
)


def value_column(kind: str, metric: str, pipeline: str = "") -> str:
    """The column of a metric's values."""
    return f"{kind}.{metric},{pipeline}" if pipeline else f"{kind}.{metric}"


def value_columns(metric: str) -> list[str]:
    """The columns that may hold a metric's values; a table has one of them."""
    return [value_column(kind, metric) for kind in VALUE_KINDS]
