"""Readers: from the bytes of a file to rows, and from rows to canonical documents."""

from __future__ import annotations

from medbench.data.readers.exams import EXAM_MAPPINGS
from medbench.data.readers.formats import FORMATS, read_rows
from medbench.data.readers.mapping import FILE_CHECKS, Mapping, MappingContext, Unanswerable
from medbench.data.readers.plain import PLAIN_MAPPINGS

__all__ = ["FILE_CHECKS", "FORMATS", "MAPPINGS", "Mapping", "MappingContext", "Unanswerable", "read_rows"]

MAPPINGS: dict[str, Mapping] = {**EXAM_MAPPINGS, **PLAIN_MAPPINGS}
