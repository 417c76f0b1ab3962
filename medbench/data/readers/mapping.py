"""Input and results of mappings from rows to documents, and checks that need a whole file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from medbench.data.documents import Document, announced_gold
from medbench.data.rows import Row
from medbench.errors import DataError


class MappingContext(NamedTuple):
    """What a mapping knows besides the row.

    Attributes:
        split: The split that the file is read for, ``test`` or ``dev``.
        language: Language of the dataset.
        subject: Subject of the dataset, empty when it has several or none.
        select: Value that chooses the dataset's rows in a file shared by several, empty for all.
        selects: The values of all datasets that share such files.
    """

    split: str
    language: str
    subject: str
    select: str
    selects: frozenset[str] = frozenset()

    def row_id(self, row: Row, own: str = "") -> str:
        """The row's own identifier, or its split and position where it has none."""
        return f"{self.split}-{own or row.number}"


class Unanswerable(NamedTuple):
    """A row that cannot be scored: it is set aside, counted and reported, never dropped silently.

    Attributes:
        where: File and row.
        reason: Why it cannot be scored.
    """

    where: str
    reason: str


# None: the row belongs to another dataset of the same file.
Mapping = Callable[[Row, MappingContext], "Document | Unanswerable | None"]


def _bears_out(row: Row) -> bool:
    """Whether a MedMCQA row shows that `cop` counts from 1: it is 4, or its explanation names that option."""
    cop: Any = row.values.get("cop")
    if cop in (4, "4"):
        return True
    announced = announced_gold(row.optional("exp"))
    return cop in (1, 2, 3) and announced == "ABC"[int(cop) - 1]


def _medmcqa(rows: Sequence[Row]) -> None:
    """Refuse a file that could be the hub's: there `cop` counts from 0, in the published file from 1.

    Raises:
        DataError: If no row confirms the numbering.
    """
    if rows and not any(_bears_out(row) for row in rows):
        raise DataError(
            f"nothing in the {len(rows)} rows tells whether 'cop' counts from 1, as in the published file, "
            "or from 0, as on the hub",
            where=rows[0].where,
            hint="use the published file, or write these rows in the canonical form, with letters as answers",
        )


# By mapping; others understand each row by itself.
FILE_CHECKS: dict[str, Callable[[Sequence[Row]], None]] = {"medmcqa": _medmcqa}
