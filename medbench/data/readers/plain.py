"""Rows that already are documents: PromptCBLUE's official rows and the canonical exam format."""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping

from medbench.data.documents import Document, exam_document, promptcblue_document
from medbench.data.readers.mapping import Mapping, MappingContext, Unanswerable
from medbench.data.rows import Row, cell_text, is_missing
from medbench.errors import DataError

_SPLITS = ("test", "dev")


def _promptcblue(row: Row, context: MappingContext) -> Document | Unanswerable | None:
    if context.select and not _is_selected(row, context):
        return None
    if "target" in row.values and row.values["target"] in (None, ""):
        return Unanswerable(row.where, "no target")
    # The official sample ids name their split already ("dev-83507").
    own = row.optional("id") or row.optional("sample_id")
    return promptcblue_document(row, doc_id=own or context.row_id(row))


def _is_selected(row: Row, context: MappingContext) -> bool:
    """Whether a row of a shared file belongs to the dataset; refuses a row of an unknown dataset."""
    found = cell_text(row.require("task_dataset"), "the column 'task_dataset'", row.where)
    if found != context.select and found not in context.selects and context.selects:
        raise DataError(
            f"the task_dataset {found!r} is no dataset of this benchmark",
            where=row.where,
            hint=f"one of {', '.join(sorted(context.selects))}",
        )
    return found == context.select


def _canonical(row: Row, context: MappingContext) -> Document | Unanswerable | None:
    split = row.values.get("split", "test")
    if split not in _SPLITS:
        raise DataError(
            f"the split is {split!r}, expected 'test' or 'dev'",
            where=row.where,
            hint="rows to be scored say 'test', worked examples 'dev'; take other rows out of the file",
        )
    if split != context.split:
        return None
    if "input" in row.values:
        return _promptcblue(row, context)
    answer = row.text("answer").upper()
    if is_missing(answer):
        return Unanswerable(row.where, "no gold answer")
    document = exam_document(
        row,
        doc_id=row.text("id"),
        question=row.text("question"),
        options=row.texts("options"),
        answer=answer,
        language=row.optional("language") or context.language,
        subject=row.optional("subject"),
        context=row.optional("context"),
        rationale=row.optional("rationale"),
        cluster=row.optional("cluster") or None,
        annotations=_annotations(row),
    )
    if "letters" in row.values and row.values["letters"] != document["letters"]:
        raise DataError(
            f"the letters are {row.values['letters']}, expected {document['letters']}",
            where=row.where,
            hint="one letter per option, from A without gaps",
        )
    return document


def _annotations(row: Row) -> dict[str, str]:
    found = row.values.get("annotations") or {}
    if not isinstance(found, AnyMapping):
        raise DataError(
            f"the annotations are {type(found).__name__}, expected names with texts",
            where=row.where,
            hint='such as {"difficulty": "2"}',
        )
    return {
        str(name): cell_text(value, f"the annotation {name!r}", row.where) for name, value in found.items()
    }


PLAIN_MAPPINGS: dict[str, Mapping] = {"canonical": _canonical, "promptcblue": _promptcblue}
