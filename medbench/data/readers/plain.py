"""Rows that are documents already: PromptCBLUE's official rows and the canonical exam form."""

from __future__ import annotations

from medbench.data.documents import Document, Row, exam_document, promptcblue_document
from medbench.data.readers.mapping import Mapping, MappingContext, Unanswerable, is_missing
from medbench.errors import DataError

__all__ = ["PLAIN_MAPPINGS"]


def _promptcblue(row: Row, context: MappingContext) -> Document | Unanswerable | None:
    if context.select and row.text("task_dataset") != context.select:
        return None
    if "target" in row.values and row.values["target"] in (None, ""):
        return Unanswerable(row.where, "no target")
    own = str(row.values.get("id") or row.values.get("sample_id") or "")
    # The official sample ids name their split already ("dev-83507").
    return promptcblue_document(row, doc_id=own or context.row_id(row))


def _canonical(row: Row, context: MappingContext) -> Document | Unanswerable | None:
    if str(row.values.get("split", "test")) != context.split:
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
        language=str(row.values.get("language") or context.language),
        subject=str(row.values.get("subject") or ""),
        context=str(row.values.get("context") or ""),
        rationale=str(row.values.get("rationale") or ""),
        cluster=str(row.values.get("cluster") or "") or None,
    )
    if "letters" in row.values and row.values["letters"] != document["letters"]:
        raise DataError(
            f"the letters are {row.values['letters']}, expected {document['letters']}",
            where=row.where,
            hint="one letter per option, from A without gaps",
        )
    return document


PLAIN_MAPPINGS: dict[str, Mapping] = {"canonical": _canonical, "promptcblue": _promptcblue}
