"""Tables for people, with the values behind them for programs.

A table is declared once, as rows and :class:`~medbench.reports.columns.Column` objects; what
:func:`text_table` makes of them is written in every form by :mod:`medbench.reports.renderers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from medbench.reports.columns import Column, Row, Style

if TYPE_CHECKING:
    import pandas as pd

    Data = pd.DataFrame | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class TextTable:
    """A table of texts, and of the values behind them.

    Attributes:
        headers: Column headings.
        rows: Cells, as many per row as headings.
        numeric: Which columns are aligned to the right.
        notes: Lines below the table.
        title: Caption.
        data: The values, a row each and one value a cell, for formats that programs read; ``None`` where
            texts are all there is.
        lead: Lines above the table, which say what it amounts to.
        styles: How cells stand out, by row and column.
        aside: Headings of columns that a page of print has no room for.
        keys: Leading columns that name a row, and are repeated where a table is cut.
        whole: Whether the first column is never folded: its names are there to be copied.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]
    notes: Sequence[str] = ()
    title: str = ""
    data: Data | None = None
    lead: Sequence[str] = ()
    styles: Mapping[tuple[int, int], Style] = field(default_factory=dict)
    aside: Collection[str] = ()
    keys: int = 1
    whole: bool = False

    @property
    def bold(self) -> set[tuple[int, int]]:
        """Row and column of cells in bold."""
        return {place for place, style in self.styles.items() if style == "bold"}


def text_table(
    rows: pd.DataFrame | Iterable[Row],
    columns: Sequence[Column],
    title: str = "",
    notes: Sequence[str] = (),
    *,
    data: Data | None = None,
    lead: Sequence[str] = (),
    keys: int = 1,
    row_style: Callable[[Row], Style] | None = None,
) -> TextTable:
    """Fill a table.

    Args:
        rows: What its rows say, as a frame or mappings.
        columns: Its columns.
        title: Caption.
        notes: Lines below it.
        data: The values for programs; the rows by default.
        lead: Lines above it.
        keys: Leading columns that name a row.
        row_style: How the cells of a row stand out whose columns say nothing of it.
    """
    records: list[Row] = list(
        cast("pd.DataFrame", rows).to_dict("records") if hasattr(rows, "to_dict") else cast("list[Row]", rows)
    )
    return TextTable(
        headers=[column.header for column in columns],
        rows=[[column.write(row) for column in columns] for row in records],
        numeric=[column.numeric for column in columns],
        notes=notes,
        title=title,
        data=cast("Data", rows if hasattr(rows, "to_dict") else records) if data is None else data,
        lead=lead,
        styles={
            (i, j): style
            for i, row in enumerate(records)
            for j, column in enumerate(columns)
            if (style := (column.style and column.style(row)) or (row_style and row_style(row)))
        },
        aside=[column.header for column in columns if column.aside],
        keys=keys,
    )


def listing(headers: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> TextTable:
    """Definitions and the like as a table: texts as they are, and names that stay in one piece.

    Args:
        headers: The keys that are shown, in order.
        rows: Values by key; programs read all of them.
    """
    return TextTable(
        headers=headers,
        rows=[[_shown(row[name]) for name in headers] for row in rows],
        numeric=[False] * len(headers),
        data=rows,
        whole=True,
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def said_once(table: TextTable) -> TextTable:
    """The table with a model or run that every row repeats named in the title instead."""
    columns = {header: {row[i] for row in table.rows} for i, header in enumerate(table.headers)}
    shared = [name for name in ("model", "run") if len(columns.get(name, ())) == 1]
    if len(table.rows) < 2 or not shared:
        return table
    names = ", ".join(next(iter(columns[name])) for name in shared)
    kept = [i for i, header in enumerate(table.headers) if header not in shared]
    return replace(with_columns(table, kept), title=f"{table.title} ({names})".lstrip())


def with_columns(table: TextTable, kept: Sequence[int]) -> TextTable:
    """Only some columns of a table, by their places."""
    places = {old: new for new, old in enumerate(kept)}
    return replace(
        table,
        headers=[table.headers[i] for i in kept],
        numeric=[table.numeric[i] for i in kept],
        rows=[[row[i] for i in kept] for row in table.rows],
        styles={
            (row, places[column]): style for (row, column), style in table.styles.items() if column in places
        },
        keys=max(1, sum(i < table.keys for i in kept)),
    )


def as_records(data: Data) -> list[dict[str, Any]]:
    """Rows as plain values: numbers keep every digit, and what is missing is ``None``."""
    if isinstance(data, Sequence):
        return [{str(name): _plain(value) for name, value in row.items()} for row in data]
    known = data.astype(object).where(data.notna(), None)
    rows = known.itertuples(index=False, name=None)
    return [{str(name): _plain(cell) for name, cell in zip(data.columns, row, strict=True)} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.isoformat() if hasattr(value, "isoformat") else value
