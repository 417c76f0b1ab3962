"""The input and the results of mappings from rows to documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from medbench.data.documents import Document
from medbench.data.rows import Row

__all__ = ["Mapping", "MappingContext", "Unanswerable"]


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
