"""Whether the tables of a run can be used, found out before any analysis relies on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

Kind = Callable[[pa.DataType], bool]


def _text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _number(kind: pa.DataType) -> bool:
    # A column without a single value is of no kind.
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_null(kind))


_COUNT: Kind = types.is_integer
_TRUTH: Kind = types.is_boolean

_SCORES: Mapping[str, Kind] = {
    "task": _text,
    "kind": _text,
    "metric": _text,
    "main": _TRUTH,
    "value": _number,
    "low": _number,
    "high": _number,
    "n": _COUNT,
}
_SAMPLES: Mapping[str, Kind] = {
    "task": _text,
    "document": _text,
    "doc_hash": _text,
    "prompt_hash": _text,
    "target_hash": _text,
    "score": _number,
}
_ROUTING: Mapping[str, Kind] = {
    "task": _text,
    "document": _COUNT,
    "phase": _text,
    "layer": _COUNT,
    "projection": _text,
    "expert": _COUNT,
    "tokens": _COUNT,
    "count": _COUNT,
}


def table_fault(folder: Path) -> tuple[Path, str] | None:
    """What keeps a run's scores or documents from being read, with the file; ``None`` where nothing does."""
    scores, samples = folder / "scores.parquet", folder / "samples.parquet"
    for path, columns in ((scores, _SCORES), (samples, _SAMPLES)):
        if (fault := _fault(path, columns)) is not None:
            return path, fault
    names = ["task", "kind", "metric"]
    try:
        table = pq.read_table(scores)  # small, so that it may as well be read to its end
    except (OSError, pa.ArrowException, ValueError) as error:
        return scores, f"cannot be read ({error})"
    if any(table.column(name).null_count for name in names):
        return scores, "has rows without a task, kind or metric"
    return None


def routing_fault(path: Path) -> str | None:
    """What keeps a table of router counts from being read; ``None`` where nothing does."""
    return _fault(path, _ROUTING)


def _fault(path: Path, columns: Mapping[str, Kind]) -> str | None:
    try:
        schema: Any = pq.read_schema(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        return f"cannot be read ({error})"
    missing = columns.keys() - set(schema.names)
    if missing:
        return f"lacks the columns {sorted(missing)}"
    wrong = [name for name, fits in columns.items() if not fits(schema.field(name).type)]
    if wrong:
        return f"has a column {wrong[0]!r} of type {schema.field(wrong[0]).type}"
    return None
