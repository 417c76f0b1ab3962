"""The canonical documents that tasks get from every source, and the checks that all of them pass."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medbench.data.rows import Row
from medbench.errors import DataError

Document = dict[str, Any]

LETTERS = "ABCDEFGHIJ"

EXAM_COLUMNS = (
    "id",
    "question",
    "letters",
    "options",
    "answer",
    "subject",
    "context",
    "rationale",
    "language",
    "cluster",
)

# Present only if the file says more about its questions than tasks need: a mapping.
ANNOTATIONS = "annotations"

PROMPTCBLUE_COLUMNS = (
    "id",
    "input",
    "target",
    "answer_choices",
    "task_type",
    "task_dataset",
    "sample_id",
    "language",
    "cluster",
)


_LANGUAGES = ("zh", "en")
_ANNOTATION = re.compile(r"[a-z][a-z0-9_]*")


def exam_document(
    row: Row,
    *,
    doc_id: str,
    question: str,
    options: Sequence[str],
    answer: str,
    language: str,
    subject: str = "",
    context: str = "",
    rationale: str = "",
    cluster: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Document:
    """Build one exam document; refuse it if it could only give a wrong score.

    Args:
        row: Where the document comes from, for messages.
        doc_id: Identifier, stable within the dataset.
        question: The text of the question.
        options: Option texts in order, without their letters.
        answer: Gold letters in any order, such as ``"B"`` or ``"CA"``.
        language: ``zh`` or ``en``.
        subject: Field or discipline, empty if unknown.
        context: Abstract or passage, empty if none.
        rationale: Explanation of the answer, empty if none.
        cluster: Key shared with related documents; the id if there are none.
        annotations: Further facts about the question, by name; empty values are left out.

    Raises:
        DataError: If the id or the question is empty, or the question a bare number; an option is empty;
            there are fewer than two options or more than there are letters; the gold names an option that
            is not there or names one twice, or the explanation begins by announcing another; the language or
            the name of an annotation is unknown; or a text holds half a character.
    """
    if not doc_id:
        raise DataError("the id is empty", where=row.where, hint="give every document a unique id")
    letters = _letters(row, question, options)
    document = {
        "id": doc_id,
        "question": question,
        "letters": letters,
        "options": list(options),
        "answer": _gold(row, letters, answer, rationale),
        "subject": subject,
        "context": context,
        "rationale": rationale,
        "language": language,
        "cluster": cluster or doc_id,
        ANNOTATIONS: {name: text for name, text in (annotations or {}).items() if text},
    }
    if language not in _LANGUAGES:
        raise DataError(f"the language is {language!r}", where=row.where, hint="zh or en")
    for name in document[ANNOTATIONS]:
        if not _ANNOTATION.fullmatch(name):
            raise DataError(
                f"the annotation {name!r:.60} cannot be the name of a column",
                where=row.where,
                hint="lower-case letters, digits and underscores",
            )
    return _whole(row, document)


def _letters(row: Row, question: str, options: Sequence[str]) -> list[str]:
    """The letters of a question's options, after checking that question and options are present."""
    if not question:
        raise DataError("the question is empty", where=row.where, hint="fill it in or remove the record")
    if question.isdecimal():
        raise DataError(
            f"the question is the number {question}",
            where=row.where,
            hint="is there a column of row numbers before the questions? remove it",
        )
    if not 2 <= len(options) <= len(LETTERS):
        raise DataError(
            f"{len(options)} options were read, expected 2 to {len(LETTERS)}",
            where=row.where,
            hint="each option needs its own letter; check how the options are separated",
        )
    letters = list(LETTERS[: len(options)])
    empty = [letter for letter, option in zip(letters, options, strict=True) if not option]
    if empty:
        raise DataError(
            f"option {empty[0]} is empty", where=row.where, hint="fill it in or remove the record"
        )
    return letters


def _gold(row: Row, letters: Sequence[str], answer: str, rationale: str) -> str:
    """The gold letters, sorted, after checking them against the options and the explanation."""
    gold = "".join(sorted(set(answer)))
    if not gold or any(letter not in letters for letter in gold):
        raise DataError(
            f"the gold answer {answer!r} is outside the options {letters[0]} to {letters[-1]}",
            where=row.where,
            hint="correct the answer; a document without a right option would count as wrong for every model",
        )
    if len(gold) < len(answer):
        raise DataError(
            f"the gold answer {answer!r} names a letter twice",
            where=row.where,
            hint="correct the answer if one of them was meant to be another letter",
        )
    announced = announced_gold(rationale)
    if announced and announced != gold:
        raise DataError(
            f"the gold answer is {gold}, but the explanation begins with {rationale.strip()[:40]!r}",
            where=row.where,
            hint="correct the one that is wrong; check whether numbered answers count from 0 or from 1",
        )
    return gold


def _whole(row: Row, document: Document) -> Document:
    """Return a document after checking that its texts can be written as UTF-8.

    Raises:
        DataError: If a text contains a lone surrogate, such as half an emoji.
    """
    for column, value in document.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{column} holds half a character, U+{ord(text[error.start]):04X}",
                where=row.where,
                hint="correct the text; half an emoji is such a character",
            ) from error
    return document


def promptcblue_document(row: Row, *, doc_id: str, language: str = "zh") -> Document:
    """Build one PromptCBLUE document from an official row.

    Raises:
        DataError: If a column is missing, the input is empty, or `answer_choices` is neither null nor a
            list of strings.
    """
    for column in ("input", "target", "answer_choices", "task_type", "task_dataset"):
        row.require(column)
    values = row.values
    choices = values["answer_choices"]
    if choices is None:
        choices = []
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise DataError(
            f"answer_choices is {type(choices).__name__}, expected null or a list of strings",
            where=row.where,
            hint="use the official format of PromptCBLUE rows",
        )
    if not isinstance(values["input"], str) or not values["input"].strip():
        raise DataError("the input is empty", where=row.where, hint="fill it in or remove the record")
    if not isinstance(values["target"], str):
        raise DataError(
            "the target is not a text", where=row.where, hint="write it as text or remove the record"
        )
    document = {
        "id": doc_id,
        "input": values["input"],
        "target": values["target"],
        "answer_choices": list(choices),
        "task_type": row.text("task_type"),
        "task_dataset": row.text("task_dataset"),
        "sample_id": row.optional("sample_id") or doc_id,
        "language": language,
        "cluster": row.optional("cluster") or doc_id,
    }
    return _whole(row, document)


def repeated_ids(documents: Iterable[tuple[str, Document]]) -> Iterator[DataError]:
    """Find documents with the id of an earlier one: their answers could not be told apart.

    Args:
        documents: Pairs of a document's location and the document.

    Returns:
        An error for every such document, naming both places.
    """
    seen: dict[str, str] = {}
    for where, document in documents:
        first = seen.setdefault(document["id"], where)
        if first is not where:
            yield DataError(
                f"the id {document['id']!r} occurs twice, first in {first}",
                where=where,
                hint="give every document of a dataset a unique id",
            )


# "Ans. is 'c'", "Ans. a. 10 seconds", "The correct answer is (B)", "正确答案：AC" at the beginning.
# A letter counts only if it stands alone: "Answer: A patient with …" announces nothing.
_ANNOUNCED = re.compile(
    r"""\W*(?:
        (?i:(?:the\s+)?(?:correct\s+|right\s+)?ans(?:wer)?\b\W{0,4}(?:is\b\W{0,3})?(?:option\b\W{0,3})?)
        (?:(?<=['‘"“(])([a-jA-J])(?=['’")”])
           |([a-j])(?=[.)])
           |([A-J]{1,10})(?=[ \t]*(?:\Z|[\n.,;:()\]。，；：（）-]|i\.?e\b)))
      | (?:本题)?(?:正确|标准|参考)?答案(?:应?为|是|应?选|[:：])\s*([A-J]{1,10})(?![A-Za-z0-9])
    )""",
    re.VERBOSE,
)


def announced_gold(rationale: str) -> str:
    """The letters that the beginning of an explanation calls right; empty if it names none.

    Letters out of their order are no answer: "DB, D, C, A" lists the parts of a question.
    """
    found = _ANNOUNCED.match(rationale)
    letters = next(filter(None, found.groups())).upper() if found else ""
    return letters if list(letters) == sorted(set(letters)) else ""
