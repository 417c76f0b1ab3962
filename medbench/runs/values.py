"""Values of any kind as columns of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import pyarrow as pa

from medbench.runs.metrics import ABSENT, as_number
from medbench.statistics.corpus import CORPUS_AGGREGATIONS
from medbench.statistics.sufficient import AGGREGATIONS, COUNT_AGGREGATIONS

# Of medbench's own aggregations, which know classes by their names. lm-eval's tell a number from a text.
_OF_LABELS = frozenset(
    name
    for name in AGGREGATIONS
    if name.startswith(("macro_", "weighted_")) and name not in CORPUS_AGGREGATIONS
)


def column_of(values: Sequence[Any], aggregation: str) -> tuple[str, pa.Array]:
    """A metric's values as a column, and the kind of it.

    Args:
        values: A value per document; ``ABSENT`` and ``None`` become null.
        aggregation: Name of what makes a score of them, which says what they mean.

    Returns:
        ``metric`` and numbers; ``counts`` and (tp, fp, fn); ``labels`` and (gold, predicted); or ``items``
        and anything else as JSON.
    """
    given = [None if value is ABSENT else value for value in values]
    present = [value for value in given if value is not None]
    if all(as_number(value) is not None for value in present):
        return "metric", pa.array([as_number(value) for value in given], pa.float64())
    if aggregation in COUNT_AGGREGATIONS and all(_is_row(value, 3) for value in present):
        rows = [None if value is None else [int(item) for item in value] for value in given]
        return "counts", pa.array(rows, pa.list_(pa.int64()))
    if aggregation in _OF_LABELS and all(_is_row(value, 2) for value in present):
        pairs = [None if value is None else [storable(str(item)) for item in value] for value in given]
        return "labels", pa.array(pairs, pa.list_(pa.string()))
    texts = [None if value is None else storable(as_json(value)) for value in given]
    return "items", pa.array(texts, pa.string())


def as_json(value: Any) -> str:
    """Any value as JSON; what JSON does not know becomes what is most like it, or a text."""
    try:
        return json.dumps(_plain(value), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(repr(value), ensure_ascii=False)


def storable(value: Any) -> Any:
    """A value with lone surrogates, which no table can hold, written as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _is_row(value: Any, length: int) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str) and len(value) == length


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Set):
        return sorted((_plain(inner) for inner in value), key=repr)
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (bytes, bytearray)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # numbers of numpy, arrays and tensors
        return _plain(value.tolist())
    return str(value)
