"""Router counts of all documents together, added up while a file is read.

A run of a large model over many documents records more rows than fit in memory at once; what needs no single
documents does not need them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_KEYS = ["task", "phase", "layer", "projection", "expert", "single"]
_SUMS = ["tokens", "count", "mass", "top1", "prob", "entropy", "near_ties"]
_TEXTS = ("task", "phase", "projection")
_BATCH = 2**18


def routing_totals(path: Path, tasks: Sequence[str] | None = None) -> pa.Table:
    """The rows of ``routing.parquet`` with the documents of each task added up as document -1.

    Args:
        path: The file.
        tasks: Only these tasks.

    Raises:
        pyarrow.ArrowException: The file is none, or lacks columns.
    """
    columns = [*_KEYS[:-1], "document", *_SUMS, "coactive"]
    if missing := set(columns) - set(pq.read_schema(path).names):
        raise pa.ArrowInvalid(f"it lacks the columns {', '.join(sorted(missing))}")
    total: pa.Table | None = None
    for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=columns):
        part = _summed(_flat(pa.table(batch), tasks))
        total = part if total is None else _summed(pa.concat_tables([total, part], promote_options="default"))
    return pq.read_schema(path).empty_table() if total is None else _whole(total)


def _flat(table: pa.Table, tasks: Sequence[str] | None) -> pa.Table:
    """The table with plain keys, and a column per expert instead of lists."""
    if tasks is not None:
        table = table.filter(pc.is_in(table["task"].cast(pa.string()), pa.array(list(tasks), pa.string())))
    lists = table["coactive"].combine_chunks()
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if len(lengths) > 1 or None in lengths:
        raise pa.ArrowInvalid("the lists of coactive have different lengths")
    experts = lengths[0] if lengths else 0
    pairs = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), experts)
    columns = {name: table[name].cast(pa.string()) if name in _TEXTS else table[name] for name in _KEYS[:-1]}
    columns |= {"single": pc.greater_equal(table["document"], 0)}
    columns |= {name: table[name] for name in _SUMS}
    return pa.table({**columns, **{f"pairs.{other}": pairs[:, other] for other in range(experts)}})


def _summed(table: pa.Table) -> pa.Table:
    names = [name for name in table.column_names if name not in _KEYS]
    found = table.group_by(_KEYS).aggregate([(name, "sum") for name in names])
    return found.rename_columns([name.removesuffix("_sum") for name in found.column_names])


def _whole(total: pa.Table) -> pa.Table:
    """The totals in the columns of ``routing.parquet``."""
    # A task may have rows of all its documents beside single ones; they count the same tokens.
    detailed = pc.unique(total.filter(total["single"])["task"])
    total = total.filter(pc.or_(total["single"], pc.invert(pc.is_in(total["task"], detailed))))
    pairs = [name for name in total.column_names if name.startswith("pairs.")]
    stacked = np.column_stack([total[name].to_numpy() for name in pairs])
    offsets = np.arange(len(stacked) + 1, dtype=np.int32) * len(pairs)
    return (
        total.drop_columns([*pairs, "single"])
        .append_column("document", pa.array(np.full(len(stacked), -1, np.int32)))
        .append_column("coactive", pa.ListArray.from_arrays(pa.array(offsets), pa.array(stacked.ravel())))
        .sort_by([(name, "ascending") for name in _KEYS[:-1]])
    )
