"""Reading the tables of run directories into one typed frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medbench.errors import AnalysisError

#: Columns of samples that are large in memory. They are read only when asked for.
SAMPLE_DETAILS = (
    "prompt",
    "response",
    "first_pass",
    "second_pass",
    "choices",
    "choice_logprobs",
    "doc_hash",
    "prompt_hash",
    "target_hash",
)

# Tables joined at a time: what repeats among them is then held once, long before all are read.
_BATCH = 16

# Values that repeat, within a run or from run to run: read as dictionaries, which become pandas categories.
# Two hundred runs of one suite then hold each text once instead of two hundred times.
_CATEGORIES = (
    "task",
    "filter",
    "phase",
    "projection",
    "document",
    "cluster",
    "doc_hash",
    "prompt_hash",
    "target_hash",
    "target",
    "answer",
)


def table_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet file."""
    return list(pq.read_schema(path).names)


def read_table(path: Path, columns: Sequence[str] | None, tasks: Sequence[str] | None) -> pa.Table:
    """Read some columns of a Parquet file.

    Args:
        path: The file.
        columns: Those to read, as far as the file has them; all by default.
        tasks: Keep the rows of these tasks only.

    Raises:
        AnalysisError: The file is damaged.
    """
    try:
        schema = pq.read_schema(path)
        known = None if columns is None else [name for name in columns if name in schema.names]
        table = pq.read_table(
            path,
            columns=known,
            read_dictionary=[name for name in _CATEGORIES if name in schema.names],
            filters=None if tasks is None else [("task", "in", list(tasks))],
        )
    except (OSError, pa.ArrowException) as error:
        raise AnalysisError(
            f"the table cannot be read: {error}", where=str(path), hint="set the run aside, or run it again"
        ) from error
    return _categorize(table).replace_schema_metadata(None)


def join_tables(parts: Iterable[tuple[str, str, pa.Table]]) -> pd.DataFrame:
    """Stack tables of runs, with the columns ``model`` and ``run`` in front.

    Columns that only some runs have are null for the others.

    Args:
        parts: Model, run and table of each run.
    """
    models: list[str] = []
    runs: list[str] = []
    sizes: list[int] = []
    tables: list[pa.Table] = []
    batch: list[pa.Table] = []
    for model, run, table in parts:
        models.append(model)
        runs.append(run)
        sizes.append(table.num_rows)
        batch.append(_categorize(table))
        if len(batch) == _BATCH:
            tables.append(_join(batch))
            batch.clear()
    if not sizes:
        return pd.DataFrame({"model": pd.Categorical([]), "run": pd.Categorical([])})
    joined = _join([*tables, *batch])
    del tables, batch
    frame: pd.DataFrame = joined.to_pandas(split_blocks=True, self_destruct=True, types_mapper=_pandas_type)
    frame.insert(0, "model", pd.Series(_repeat(models, sizes), index=frame.index))
    frame.insert(1, "run", pd.Series(_repeat(runs, sizes), index=frame.index))
    return frame


def plain_frame(table: pa.Table) -> pd.DataFrame:
    """A frame without categories: columns of two such frames can be compared and put together."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            decoded = table.column(index).cast(field.type.value_type)
            table = table.set_column(index, field.name, decoded)
    frame: pd.DataFrame = table.to_pandas(types_mapper=_pandas_type)
    return frame


def _join(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()


def _categorize(table: pa.Table) -> pa.Table:
    # Tables made elsewhere hold plain texts, and a file without row groups comes without dictionaries.
    for index, field in enumerate(table.schema):
        if field.name in _CATEGORIES and pa.types.is_string(field.type):
            table = table.set_column(index, field.name, table.column(index).dictionary_encode())
    return table


def _repeat(names: list[str], sizes: list[int]) -> pd.Categorical:
    distinct = list(dict.fromkeys(names))
    codes = np.repeat([distinct.index(name) for name in names], sizes)
    categories = pd.CategoricalDtype(pd.Index(distinct))
    return pd.Categorical.from_codes(codes, dtype=categories)


def _pandas_type(kind: pa.DataType) -> Any:
    # A plain column of truth values with gaps would become one of objects.
    return pd.BooleanDtype() if pa.types.is_boolean(kind) else None
