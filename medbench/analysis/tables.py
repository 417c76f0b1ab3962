"""Reading the tables of run directories into one typed frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["SAMPLE_TEXTS", "join_tables", "read_table", "table_columns"]

#: Columns of samples that hold whole texts. They are read only when asked for.
SAMPLE_TEXTS = ("prompt", "response", "first_pass", "second_pass")

# Few distinct values in many rows: read as dictionaries, which become pandas categories.
_CATEGORIES = ("task", "filter", "phase", "projection")


def table_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet file."""
    return list(pq.read_schema(path).names)


def read_table(path: Path, columns: Sequence[str] | None, tasks: Sequence[str] | None) -> pa.Table:
    """Read some columns of a Parquet file.

    Args:
        path: The file.
        columns: Those to read, as far as the file has them; all by default.
        tasks: Keep the rows of these tasks only.
    """
    schema = pq.read_schema(path)
    known = None if columns is None else [name for name in columns if name in schema.names]
    table = pq.read_table(
        path,
        columns=known,
        read_dictionary=[name for name in _CATEGORIES if name in schema.names],
        filters=None if tasks is None else [("task", "in", list(tasks))],
    )
    # read_dictionary leaves one dictionary per row group; without rows there may be none at all.
    for name in set(_CATEGORIES) & set(table.column_names):
        if not pa.types.is_dictionary(table.schema.field(name).type):
            index = table.column_names.index(name)
            table = table.set_column(index, name, table.column(name).dictionary_encode())
    return table.replace_schema_metadata(None)


def join_tables(
    parts: Iterable[tuple[str, str, pa.Table]], order: Callable[[str], int] | None = None
) -> pd.DataFrame:
    """Stack tables of runs, with the columns ``model`` and ``run`` in front.

    Columns that only some runs have are null for the others.

    Args:
        parts: Model, run and table of each run.
        order: Sort key of the columns; those of the first table come first by default.
    """
    models: list[str] = []
    runs: list[str] = []
    sizes: list[int] = []
    tables: list[pa.Table] = []
    for model, run, table in parts:
        models.append(model)
        runs.append(run)
        sizes.append(table.num_rows)
        tables.append(table)
    if not tables:
        return pd.DataFrame({"model": pd.Categorical([]), "run": pd.Categorical([])})
    joined = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    del tables
    if order is not None:
        joined = joined.select(sorted(joined.column_names, key=order))
    frame = joined.to_pandas(split_blocks=True, self_destruct=True)
    frame.insert(0, "model", _repeat(models, sizes))
    frame.insert(1, "run", _repeat(runs, sizes))
    return frame


def _repeat(names: list[str], sizes: list[int]) -> pd.Categorical:
    distinct = list(dict.fromkeys(names))
    codes = [distinct.index(name) for name in names]
    return pd.Categorical.from_codes(pd.Series(codes).repeat(sizes).to_numpy(), categories=distinct)
