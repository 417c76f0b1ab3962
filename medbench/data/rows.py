"""One record of a file as read, and the conversion of its cells to text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from medbench.errors import DataError

_MISSING = frozenset({"", "nan", "none", "null", "n/a"})


def is_missing(text: str) -> bool:
    """Whether a cell is empty, or has a value that spreadsheet tools write for empty cells."""
    return text.strip().lower() in _MISSING


def cell_text(value: Any, name: str, where: str) -> str:
    """The stripped text of a cell; empty for null and NaN.

    Only texts and numbers are accepted. Other values would have to be guessed: a spreadsheet turns the option
    "1-2" into a date, and ``str`` turns null into the option "None".

    Args:
        value: What the file holds.
        name: Name of the cell, for the message.
        where: The file and row.

    Raises:
        DataError: If the value is no text or number.
    """
    if isinstance(value, str):
        return value.strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    raise DataError(
        f"{name} is {value!r:.60} ({type(value).__name__}), expected a text",
        where=where,
        hint="write it as text; values of other types are not converted",
    )


class Row(NamedTuple):
    """One record of a file.

    Attributes:
        where: The file and the line or row, for messages.
        number: 1-based position among the records of its file.
        values: Columns by name, or by index as text if the file has no header.
    """

    where: str
    number: int
    values: Mapping[str, Any]

    def require(self, column: str) -> Any:
        """The value of a required column as it is in the file.

        Raises:
            DataError: If the column is missing.
        """
        if column not in self.values:
            known = ", ".join(repr(name) for name in self.values)
            raise DataError(
                f"the column {column!r} is missing",
                where=self.where,
                hint=f"the record has {known}; check that the file is the one its dataset expects",
            )
        return self.values[column]

    def text(self, column: str) -> str:
        """The stripped text of a required column; empty for null.

        Raises:
            DataError: If the column is missing or holds no text or number.
        """
        return cell_text(self.require(column), f"the column {column!r}", self.where)

    def optional(self, column: str) -> str:
        """The stripped text of an optional column; empty if it is absent or a word for an empty cell.

        Raises:
            DataError: If it holds no text or number.
        """
        text = cell_text(self.values.get(column), f"the column {column!r}", self.where)
        return "" if is_missing(text) else text

    def texts(self, column: str) -> list[str]:
        """The stripped texts of a column with a list; an empty list for null, an empty text for a null item.

        Raises:
            DataError: If the column is missing, holds something else, or an item is no text or number.
        """
        value = self.require(column)
        if value is not None and not isinstance(value, (list, tuple)):
            raise DataError(
                f"the column {column!r} holds {type(value).__name__}, expected a list of texts",
                where=self.where,
                hint="check that the file is the one its dataset expects",
            )
        return [
            cell_text(item, f"item {number} of the column {column!r}", self.where)
            for number, item in enumerate(value or (), start=1)
        ]
