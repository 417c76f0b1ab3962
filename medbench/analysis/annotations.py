"""What benchmark files say about their documents, as columns that results are told apart by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from medbench.analysis.task_names import unknown_name
from medbench.errors import AnalysisError
from medbench.runs.schema import ANNOTATION

_SUBJECT = "subject"
# What rows may be told apart by beside documents' columns.
_SYSTEMS = ("model", "run")


def annotation_columns(columns: Iterable[str]) -> list[str]:
    """Those columns of samples that say something about documents: ``subject`` and ``annotation.<name>``."""
    found = dict.fromkeys(name for name in columns if name == _SUBJECT or name.startswith(ANNOTATION))
    return list(found)


def annotation_column(name: str, columns: Iterable[str]) -> str:
    """The column that a name stands for.

    Args:
        name: ``subject``, ``annotation.<name>`` or the name alone, such as ``question_type``.
        columns: Columns of the samples of some runs.

    Raises:
        AnalysisError: No run has such a column.
    """
    known = annotation_columns(columns)
    for candidate in (name, f"{ANNOTATION}{name}"):
        if candidate in known:
            return candidate
    unknown = unknown_name("annotation", short_name(name), [short_name(column) for column in known])
    if not known:
        unknown.hint = "their documents have none"
    raise AnalysisError(unknown.what, hint=f"{unknown.hint} (systems are told apart by model or by run)")


def short_name(column: str) -> str:
    """The name of a column without the prefix of annotations."""
    return column.removeprefix(ANNOTATION)


def split_by(names: Sequence[str]) -> tuple[str, str | None]:
    """What systems and what parts of tasks are told apart by.

    Args:
        names: ``model`` or ``run``, and the name of an annotation; each may be left out.

    Returns:
        ``model`` or ``run``, and the annotation, if there is one.

    Raises:
        AnalysisError: There are two of either.
    """
    kinds = [name for name in names if name in _SYSTEMS]
    annotations = [name for name in names if name not in _SYSTEMS]
    for found in (kinds, annotations):
        if len(set(found)) > 1:
            raise AnalysisError(
                f"rows cannot be told apart by {found[0]!r} and by {found[1]!r} at once",
                where="--by",
                hint="give model or run, and one annotation",
            )
    return (kinds[0] if kinds else "model"), (annotations[0] if annotations else None)


def cells_in(column: pd.Series[Any]) -> pd.Series[Any]:
    """The cell of each document: its text, or ``None`` where the file says nothing."""
    texts = column.astype(object)
    return texts.where(texts.notna() & (texts != ""), None)


def cell_order(cells: Iterable[Any]) -> list[str]:
    """Each cell once: whole numbers by their size, other texts as they first appear."""
    found = list(dict.fromkeys(str(cell) for cell in cells if not pd.isna(cell)))
    if all(cell.isascii() and cell.isdigit() for cell in found):
        return sorted(found, key=lambda cell: (int(cell), cell))
    return found
