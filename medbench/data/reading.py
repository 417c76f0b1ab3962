"""Conversion of rows to documents; rows that cannot be scored are set aside and counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from medbench.data.documents import Document, repeated_ids
from medbench.data.readers import FILE_CHECKS, MAPPINGS, MappingContext, Unanswerable
from medbench.data.rows import Row
from medbench.errors import DataError

SetAside = Unanswerable
Understood = tuple[str, "Document | Unanswerable | DataError"]

_TOLERATED_FAULTS = 0.01
#: How many rows set aside, or reasons, a message lists.
SHOWN = 5


class Reading(NamedTuple):
    """The documents of a source.

    Attributes:
        documents: Canonical documents by split.
        set_aside: Rows that cannot be scored, each with its location and the reason.
    """

    documents: Mapping[str, tuple[Document, ...]]
    set_aside: tuple[SetAside, ...]


def understand(rows: Iterable[Row], mapping: str, context: MappingContext) -> list[Understood]:
    """Convert rows; rows of other datasets in the same file are skipped.

    Args:
        rows: Records of one file or hub split.
        mapping: Key of :data:`medbench.data.readers.MAPPINGS`.
        context: What the mapping knows beside the row.

    Returns:
        Each row's location with its document, the reason it cannot be scored, or the error of a faulty row.

    Raises:
        DataError: If the file cannot be parsed, or is ambiguous.
    """
    rows = list(rows)
    found: list[Understood] = []
    for row in rows:
        document: Document | Unanswerable | DataError | None
        try:
            document = MAPPINGS[mapping](row, context)
        except DataError as error:
            document = error
        if document is not None:
            found.append((row.where, document))
    if mapping in FILE_CHECKS and not any(isinstance(document, DataError) for _, document in found):
        FILE_CHECKS[mapping](rows)
    return found


def tolerable(found: Sequence[Understood]) -> bool:
    """Whether so few rows are faulty that the fault is theirs and not the reading's."""
    faults = sum(isinstance(document, DataError) for _, document in found)
    return faults <= _TOLERATED_FAULTS * len(found)


def map_rows(
    rows: Iterable[Row], mapping: str, context: MappingContext, *, upstream: bool
) -> list[tuple[str, Document | Unanswerable]]:
    """Convert rows as :func:`understand` does, and decide about faulty ones.

    Args:
        rows: Records of one file or hub split.
        mapping: Key of :data:`medbench.data.readers.MAPPINGS`.
        context: What the mapping knows beside the row.
        upstream: Whether the content is as published. A few faulty rows are then set aside and counted,
            because users cannot correct them; in any other file a faulty row is an error.

    Raises:
        DataError: If a row is faulty, or more than 1% of published rows are, which means that the file is
            read in the wrong way.
    """
    found = understand(rows, mapping, context)
    faults = [document for _, document in found if isinstance(document, DataError)]
    if faults and not (upstream and tolerable(found)):
        raise faults[0]
    return [
        (where, Unanswerable(where, document.what) if isinstance(document, DataError) else document)
        for where, document in found
    ]


def collect(parts: Mapping[str, list[tuple[str, Document | Unanswerable]]], where: str) -> Reading:
    """Combine and check the rows of all splits.

    Raises:
        DataError: If an id occurs twice or no document of the test split can be scored.
    """
    set_aside: list[SetAside] = []
    documents: dict[str, tuple[Document, ...]] = {}
    placed: list[tuple[str, Document]] = []
    for split, found in parts.items():
        usable: list[tuple[str, Document]] = []
        for place, document in found:
            if isinstance(document, Unanswerable):
                set_aside.append(document)
            else:
                usable.append((place, document))
        placed += usable
        if usable:
            documents[split] = tuple(document for _, document in usable)
    for error in repeated_ids(placed):
        raise error
    if "test" not in documents:
        reasons = ", ".join(sorted({row.reason for row in set_aside})[:SHOWN])
        raise DataError(
            f"no document of the test split can be scored ({len(set_aside)} rows were set aside"
            f"{f': {reasons}' if reasons else ''})",
            where=where,
            hint="check that the files are the ones the dataset expects",
        )
    return Reading(documents, tuple(set_aside))
