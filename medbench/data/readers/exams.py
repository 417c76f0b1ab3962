"""Exam rows: one small function per published form, files and hub rows alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from typing import Any

from medbench.data.documents import LETTERS, Document, exam_document
from medbench.data.readers.mapping import Mapping, MappingContext, Unanswerable
from medbench.data.rows import Row, cell_text, is_missing
from medbench.errors import DataError

_NO_GOLD = "no gold answer"
# "A text", "A. text", "A、text" at the start of a line, as CMExam writes options; a letter alone has no text.
_LINE_OPTION = re.compile(r"^([A-J])(?:[ \t.．、:：]+(.*))?$", re.DOTALL)
# "(A) text." as the XMedBench samples write options.
_PARENTHESISED = re.compile(r"^\(([A-J])\)[ \t]*(.*)$", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]+")
# What CMExam's authors annotate beside the discipline, which is the subject.
_CMEXAM_ANNOTATIONS = {
    "difficulty": "Difficulty level",
    "disease_group": "Disease Group",
    "department": "Clinical Department",
    "competency": "Area of Competency",
}


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
    if isinstance(options, list) and all(isinstance(entry, AnyMapping) for entry in options):
        found = [(entry.get("key"), entry.get("value")) for entry in options]
    elif isinstance(options, AnyMapping):
        found = list(options.items())
    else:
        raise DataError(
            f"the options are {type(options).__name__}, expected letters with texts",
            where=row.where,
            hint="check that the file is the one its dataset expects",
        )
    texts: dict[str, str] = {}
    for key, value in found:
        letter = str(key).strip()
        if letter in texts:
            raise DataError(
                f"the option {letter!r} is given twice", where=row.where, hint="give each its own letter"
            )
        texts[letter] = cell_text(value, f"option {letter}", row.where)
    # Unused trailing options are empty or null in several published files.
    return _in_order(row, sorted((letter, text) for letter, text in texts.items() if text))


def _in_columns(row: Row, names: Sequence[str], required: int = 4) -> list[str]:
    """Option texts from separate columns; those beyond the required ones may be absent or empty."""
    texts = [row.text(name) for name in names[:required]]
    texts += [row.text(name) if name in row.values else "" for name in names[required:]]
    while len(texts) > required and not texts[-1]:
        texts.pop()
    return texts


def _from_lines(row: Row, text: str, pattern: re.Pattern[str]) -> list[str]:
    """Option texts from lines that begin with a letter; a line without one continues the last option."""
    pairs: list[tuple[str, str]] = []
    for line in text.split("\n"):
        match = pattern.match(line.strip())
        if match and any(letter == match.group(1) for letter, _ in pairs):
            raise DataError(
                f"two lines of the options begin with the letter {match.group(1)}",
                where=row.where,
                hint="is it an option given twice, or a text that goes on? put the text on one line",
            )
        if match:
            # A letter out of order means that one is missing; _in_order refuses that.
            pairs.append((match.group(1), (match.group(2) or "").strip()))
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


def _letter_of(row: Row, column: str, first: int = 0) -> str:
    """The letter of a numbered answer whose first option has the number `first`."""
    index: Any = row.values.get(column)
    whole = isinstance(index, float) and index.is_integer()
    written = isinstance(index, str) and _INTEGER.fullmatch(index.strip()) is not None
    if isinstance(index, bool) or not (isinstance(index, int) or whole or written):
        raise DataError(
            f"the gold answer {index!r:.40} is not a number of an option",
            where=row.where,
            hint="check the dataset's form; numbers are never rounded",
        )
    position = int(index) - first
    # Out-of-range numbers become a letter that no document has, so that one check words the message.
    return LETTERS[position] if 0 <= position < len(LETTERS) else str(index)


def _loose(text: str) -> str:
    """Normalized text: without width, case, repeated spaces and a final stop, in which copies differ."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .。")


def _same_text(row: Row, column: str, options: Sequence[str], gold: str) -> None:
    """Compare the gold letters with a column that repeats the answer as text, where a file has one.

    Raises:
        DataError: If the column has a text, but that of another option or of none.
    """
    text = _loose(row.optional(column))
    if not text or set(gold) - set(LETTERS[: len(options)]):
        return  # The document's own check reports letters outside the options.
    texts = {letter: _loose(option) for letter, option in zip(LETTERS, options, strict=False)}
    if len(gold) == 1 and text in texts.values():
        agrees = texts[gold] == text
    else:
        agrees = text == gold.casefold() or (len(gold) > 1 and all(texts[letter] in text for letter in gold))
    if not agrees:
        raise DataError(
            f"the gold answer is {gold}, but {column!r} says {row.optional(column)[:60]!r}",
            where=row.where,
            hint="correct the one that is wrong",
        )


def _lettered_columns(row: Row, context: MappingContext, columns: tuple[str, str]) -> Document | Unanswerable:
    question, answer_column = columns
    answer = row.text(answer_column).upper()
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row, row.optional("id") or row.optional("")),
        question=row.text(question),
        options=_in_columns(row, LETTERS),
        answer=answer,
        language=context.language,
        subject=context.subject,
        rationale=row.optional("explanation"),
    )


def _cmmlu(row: Row, context: MappingContext) -> Document | Unanswerable:
    return _lettered_columns(row, context, ("Question", "Answer"))


def _ceval(row: Row, context: MappingContext) -> Document | Unanswerable:
    return _lettered_columns(row, context, ("question", "answer"))


def _mmlu(row: Row, context: MappingContext) -> Document | Unanswerable:
    # No header: question, four options, answer, and nothing else that could be a shifted one of them.
    if len(row.values) != 6:
        raise DataError(
            f"{len(row.values)} columns, expected 6: the question, four options, the answer",
            where=row.where,
            hint="take other columns out, such as row numbers; five options fit the canonical form",
        )
    answer = row.text("5").upper()
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row),
        question=row.text("0"),
        options=_in_columns(row, "1234"),
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
        answer=_letter_of(row, "answer"),
        language=context.language,
        subject=context.subject or row.text("subject"),
    )


def _options_by_letter(row: Row, context: MappingContext) -> Document | Unanswerable:
    # MedQA, MMedBench: {"A": …} with `answer_idx`.
    answer = row.text("answer_idx").upper()
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    options = _by_letter(row, row.require("options"))
    _same_text(row, "answer", options, answer)
    return exam_document(
        row,
        doc_id=context.row_id(row),
        question=row.text("question"),
        options=options,
        answer=answer,
        language=context.language,
        subject=row.optional("meta_info"),
        rationale=row.optional("rationale"),
        annotations={name: row.optional(name) for name in ("human_checked", "human_check_passed")},
    )


def _option_by_letter(row: Row, context: MappingContext) -> Document | Unanswerable:
    # CMB-Exam, pharmacist licensure: `option` or `options` by letter, `answer` "A" or "ACD".
    column = "option" if "option" in row.values else "options"
    answer = re.sub(r"[\s,，、]", "", row.text("answer").upper())
    if is_missing(answer):
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row, row.optional("id")),
        question=row.text("question"),
        options=_by_letter(row, row.require(column)),
        answer=answer,
        language=context.language,
        subject=row.optional("exam_subject") or context.subject,
        rationale=row.optional("explanation"),
        annotations={
            "question_type": row.optional("question_type") or row.optional("type"),
            **{name: row.optional(name) for name in ("exam_type", "exam_class", "source")},
        },
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
        subject=row.optional("Medical Discipline"),
        rationale=row.optional("Explanation"),
        annotations={name: row.optional(column) for name, column in _CMEXAM_ANNOTATIONS.items()},
    )


def _medmcqa_from(row: Row, context: MappingContext, first: int) -> Document | Unanswerable:
    # The hub's test split says -1 where it has no label.
    if is_missing(row.text("cop")) or row.text("cop") == "-1":
        return Unanswerable(row.where, _NO_GOLD)
    return exam_document(
        row,
        doc_id=context.row_id(row, row.text("id")),
        question=row.text("question"),
        options=_in_columns(row, [f"op{letter}" for letter in LETTERS.lower()]),
        answer=_letter_of(row, "cop", first),
        language=context.language,
        subject=row.optional("subject_name"),
        rationale=row.optional("exp"),
        annotations={"question_type": row.optional("choice_type"), "topic": row.optional("topic_name")},
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
        options=_in_columns(row, [f"ending{index}" for index in range(len(LETTERS))]),
        answer=_letter_of(row, "label"),
        language=context.language,
    )


_PUBMEDQA_LABELS = ("yes", "no", "maybe")


def _pubmedqa(row: Row, context: MappingContext) -> Document | Unanswerable:
    decision = row.text("final_decision").lower()
    if is_missing(decision):
        return Unanswerable(row.where, _NO_GOLD)
    if decision not in _PUBMEDQA_LABELS:
        raise DataError(
            f"the decision {decision!r} is not one of yes, no, maybe",
            where=row.where,
            hint="correct the record",
        )
    # The file is keyed by PMID; the hub's rows may lack it.
    pmid = row.optional("key") or row.optional("PMID")
    return exam_document(
        row,
        doc_id=context.row_id(row, pmid),
        question=row.text("QUESTION"),
        options=_PUBMEDQA_LABELS,
        answer=LETTERS[_PUBMEDQA_LABELS.index(decision)],
        language=context.language,
        subject=context.subject,
        context="\n".join(row.texts("CONTEXTS")),
        rationale=row.optional("LONG_ANSWER"),
        cluster=pmid or None,
        annotations={
            "year": row.optional("YEAR"),
            # What annotators decided with the conclusion before their eyes, and without it.
            **{name: row.optional(name) for name in ("reasoning_free_pred", "reasoning_required_pred")},
        },
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
