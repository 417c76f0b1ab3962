"""Exam rows: one small function per published form, files and hub rows alike."""

from __future__ import annotations

import re
from collections.abc import Mapping as AnyMapping
from typing import Any

from medbench.data.documents import LETTERS, Document, Row, exam_document
from medbench.data.readers.mapping import Mapping, MappingContext, Unanswerable, is_missing
from medbench.errors import DataError

__all__ = ["EXAM_MAPPINGS"]

_NO_GOLD = "no gold answer"
# "A text", "A. text", "A、text" at the start of a line, as CMExam writes options.
_LINE_OPTION = re.compile(r"^([A-J])[ \t.．、:：]+(.*)$", re.DOTALL)
# "(A) text." as the XMedBench samples write options.
_PARENTHESISED = re.compile(r"^\(([A-J])\)[ \t]*(.*)$", re.DOTALL)


def _in_order(row: Row, pairs: list[tuple[str, str]]) -> list[str]:
    letters = "".join(letter for letter, _ in pairs)
    if letters != LETTERS[: len(pairs)]:
        raise DataError(
            f"the options are lettered {letters!r}, expected {LETTERS[: len(pairs)]!r}",
            where=row.where,
            hint="letters must run from A without gaps",
        )
    return [text for _, text in pairs]


def _by_letter(row: Row, options: Any) -> list[str]:
    """Option texts from ``{"A": text, …}``, or from ``[{"key": "A", "value": text}, …]``."""
    if isinstance(options, list):
        options = {entry.get("key"): entry.get("value") for entry in options if isinstance(entry, AnyMapping)}
    if not isinstance(options, AnyMapping):
        raise DataError(
            f"the options are {type(options).__name__}, expected letters with texts",
            where=row.where,
            hint="check that the file is the one its dataset expects",
        )
    # Unused trailing options are empty or null in several published files.
    pairs = [(str(letter), str(text).strip()) for letter, text in options.items() if text not in (None, "")]
    return _in_order(row, sorted(pairs))


def _from_lines(row: Row, text: str, pattern: re.Pattern[str]) -> list[str]:
    """Option texts from lines that begin with a letter; a line without one goes on with the last option."""
    pairs: list[tuple[str, str]] = []
    for line in text.split("\n"):
        match = pattern.match(line.strip())
        if match and len(pairs) < len(LETTERS) and match.group(1) >= LETTERS[len(pairs)]:
            # A letter too early would be a text that begins with one; a letter too late means one is lacking,
            # which _in_order refuses.
            pairs.append((match.group(1), match.group(2).strip()))
        elif pairs and line.strip():
            letter, head = pairs[-1]
            pairs[-1] = (letter, f"{head}\n{line.strip()}")
        elif line.strip():
            raise DataError(
                f"the options begin with {line.strip()[:20]!r}, expected the letter A",
                where=row.where,
                hint="each option stands on a line that begins with its letter",
            )
    return _in_order(row, pairs)


def _letter_of(row: Row, index: Any, first: int = 0) -> str:
    """The letter of a numbered answer whose first option has the number `first`."""
    try:
        position = int(index) - first
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the gold answer {index!r} is not a number", where=row.where, hint="check the dataset's form"
        ) from error
    # Out-of-range numbers become a letter that no document has, so that one check words the message.
    return LETTERS[position] if 0 <= position < len(LETTERS) else str(index)


def _lettered_columns(row: Row, context: MappingContext, columns: tuple[str, str]) -> Document | Unanswerable:
    question, answer_column = columns
    answer = row.text(answer_column).upper()
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row, str(row.values.get("id") or row.values.get("") or "")),
        question=row.text(question),
        options=[row.text(letter) for letter in "ABCD"],
        answer=answer,
        language=context.language,
        subject=context.subject,
        rationale=str(row.values.get("explanation") or "").strip(),
    )


def _cmmlu(row: Row, context: MappingContext) -> Document | Unanswerable:
    return _lettered_columns(row, context, ("Question", "Answer"))


def _ceval(row: Row, context: MappingContext) -> Document | Unanswerable:
    return _lettered_columns(row, context, ("question", "answer"))


def _mmlu(row: Row, context: MappingContext) -> Document | Unanswerable:
    # No header: question, four options, answer.
    answer = row.text("5").upper()
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row),
        question=row.text("0"),
        options=[row.text(str(column)) for column in range(1, 5)],
        answer=answer,
        language=context.language,
        subject=context.subject,
    )


def _choices(row: Row, context: MappingContext) -> Document:
    # The hub's MMLU: `choices` is a list, `answer` its 0-based index.
    return exam_document(
        row,
        doc_id=context.row_id(row),
        question=row.text("question"),
        options=row.texts("choices"),
        answer=_letter_of(row, row.values.get("answer")),
        language=context.language,
        subject=context.subject or row.text("subject"),
    )


def _options_by_letter(row: Row, context: MappingContext) -> Document | Unanswerable:
    # MedQA, MMedBench: {"A": …} with `answer_idx`.
    row.text("options")
    answer = row.text("answer_idx").upper()
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row),
        question=row.text("question"),
        options=_by_letter(row, row.values["options"]),
        answer=answer,
        language=context.language,
        subject=str(row.values.get("meta_info") or "").strip(),
        rationale=str(row.values.get("rationale") or "").strip(),
    )


def _option_by_letter(row: Row, context: MappingContext) -> Document | Unanswerable:
    # CMB-Exam, pharmacist licensure: `option` or `options` by letter, `answer` "A" or "ACD".
    column = "option" if "option" in row.values else "options"
    row.text(column)
    answer = re.sub(r"[\s,，、]", "", row.text("answer").upper())
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row, str(row.values.get("id") or "")),
        question=row.text("question"),
        options=_by_letter(row, row.values[column]),
        answer=answer,
        language=context.language,
        subject=str(row.values.get("exam_subject") or "").strip(),
        rationale=str(row.values.get("explanation") or "").strip(),
    )


def _xmedbench(row: Row, context: MappingContext) -> Document | Unanswerable:
    # "(A) text.\n(B) text." and the key `anwer` (sic) with "(A)"; the full stop belongs to the form.
    answer = re.sub(r"[()\s]", "", row.text("anwer").upper())
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    options = _from_lines(row, row.text("option"), _PARENTHESISED)
    return exam_document(
        row,
        doc_id=context.row_id(row),
        question=row.text("question"),
        options=[option.removesuffix(".").rstrip() or option for option in options],
        answer=answer,
        language=context.language,
    )


def _cmexam(row: Row, context: MappingContext) -> Document | Unanswerable:
    answer = re.sub(r"[\s,，、]", "", row.text("Answer").upper())
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    # The workbook holds a backslash and an n where the CSV has a line break.
    options = row.text("Options").replace("\\n", "\n")
    return exam_document(
        row,
        doc_id=context.row_id(row),
        question=row.text("Question"),
        options=_from_lines(row, options, _LINE_OPTION),
        answer=answer,
        language=context.language,
        subject=str(row.values.get("Medical Discipline") or "").strip(),
        rationale=str(row.values.get("Explanation") or "").strip(),
    )


def _medmcqa_from(row: Row, context: MappingContext, first: int) -> Document | Unanswerable:
    if is_missing(row.text("cop")) or row.text("cop") == "-1":
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row, row.text("id")),
        question=row.text("question"),
        options=[row.text(f"op{letter}") for letter in "abcd"],
        answer=_letter_of(row, row.values["cop"], first),
        language=context.language,
        subject=str(row.values.get("subject_name") or "").strip(),
        rationale=str(row.values.get("exp") or "").strip(),
    )


def _medmcqa(row: Row, context: MappingContext) -> Document | Unanswerable:
    return _medmcqa_from(row, context, first=1)


def _medmcqa_hub(row: Row, context: MappingContext) -> Document | Unanswerable:
    return _medmcqa_from(row, context, first=0)


def _medqa_hub(row: Row, context: MappingContext) -> Document:
    # SWAG columns: sent1 sent2 ending0 … ending3, label.
    return exam_document(
        row,
        doc_id=context.row_id(row, row.text("id")),
        question=" ".join(part for part in (row.text("sent1"), row.text("sent2")) if part),
        options=[row.text(f"ending{index}") for index in range(4)],
        answer=_letter_of(row, row.values.get("label")),
        language=context.language,
    )


_PUBMEDQA_LABELS = ("yes", "no", "maybe")


def _pubmedqa(row: Row, context: MappingContext) -> Document | Unanswerable:
    decision = row.text("final_decision").lower()
    if is_missing(decision):
        return Unanswerable(row.where, _NO_GOLD)
    if decision not in _PUBMEDQA_LABELS:
        raise DataError(
            f"the decision {decision!r} is not one of yes, no, maybe", where=row.where, hint="mend the record"
        )
    # The file is keyed by PMID; the hub's rows may lack it.
    pmid = str(row.values.get("key") or row.values.get("PMID") or "").strip()
    return exam_document(
        row,
        doc_id=context.row_id(row, pmid),
        question=row.text("QUESTION"),
        options=_PUBMEDQA_LABELS,
        answer=LETTERS[_PUBMEDQA_LABELS.index(decision)],
        language=context.language,
        subject=context.subject,
        context="\n".join(row.texts("CONTEXTS")),
        rationale=str(row.values.get("LONG_ANSWER") or "").strip(),
        cluster=pmid or None,
    )


EXAM_MAPPINGS: dict[str, Mapping] = {
    "ceval": _ceval,
    "choices": _choices,
    "cmexam": _cmexam,
    "cmmlu": _cmmlu,
    "medmcqa": _medmcqa,
    "medmcqa_hub": _medmcqa_hub,
    "medqa_hub": _medqa_hub,
    "mmlu": _mmlu,
    "option_by_letter": _option_by_letter,
    "options_by_letter": _options_by_letter,
    "pubmedqa": _pubmedqa,
    "xmedbench": _xmedbench,
}
