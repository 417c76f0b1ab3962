"""The canonical documents that tasks see, whatever the source, and the checks that every document passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from medbench.errors import DataError

__all__ = [
    "EXAM_COLUMNS",
    "LETTERS",
    "PROMPTCBLUE_COLUMNS",
    "Document",
    "Row",
    "check_unique_ids",
    "exam_document",
    "promptcblue_document",
]

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


class Row(NamedTuple):
    """One record of a file before it is understood.

    Attributes:
        where: The file and the line or row, as a person would look it up.
        number: 1-based position among the records of its file.
        values: Columns by name, or by index as text where the file has no header.
    """

    where: str
    number: int
    values: Mapping[str, Any]

    def text(self, column: str) -> str:
        """The stripped text of a column that must be there.

        Raises:
            DataError: If the column is missing.
        """
        if column not in self.values:
            known = ", ".join(repr(name) for name in self.values)
            raise DataError(
                f"the column {column!r} is missing",
                where=self.where,
                hint=f"the record has {known}; check that the file is the one its dataset expects",
            )
        value = self.values[column]
        return "" if value is None else str(value).strip()

    def texts(self, column: str) -> list[str]:
        """The stripped texts of a column that holds a list; empty for null.

        Raises:
            DataError: If the column is missing or holds something else.
        """
        self.text(column)
        value = self.values[column]
        if value is not None and not isinstance(value, (list, tuple)):
            raise DataError(
                f"the column {column!r} holds {type(value).__name__}, expected a list of texts",
                where=self.where,
                hint="check that the file is the one its dataset expects",
            )
        return [str(item).strip() for item in value or ()]


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
) -> Document:
    """Build one exam document and refuse what could only give a wrong score.

    Args:
        row: Where the document comes from, for messages.
        doc_id: Identifier, stable within the dataset.
        question: The stem.
        options: Option texts in order, without their letters.
        answer: Gold letters in any order, such as ``"B"`` or ``"CA"``.
        language: ``zh`` or ``en``.
        subject: Field or discipline, empty when unknown.
        context: Abstract or passage, empty when none.
        rationale: Explanation of the answer, empty when none.
        cluster: What the document shares with others; the id when none.

    Raises:
        DataError: If the question or an option is empty, there are fewer than two options or more than
            there are letters, or the gold names an option that is not there.
    """
    if not question:
        raise DataError("the question is empty", where=row.where, hint="mend or remove the record")
    if not 2 <= len(options) <= len(LETTERS):
        raise DataError(
            f"{len(options)} options were read, expected 2 to {len(LETTERS)}",
            where=row.where,
            hint="each option needs its own letter; check how the options are separated",
        )
    letters = list(LETTERS[: len(options)])
    empty = [letter for letter, option in zip(letters, options, strict=True) if not option]
    if empty:
        raise DataError(f"option {empty[0]} is empty", where=row.where, hint="mend or remove the record")
    gold = "".join(sorted(set(answer)))
    if not gold or any(letter not in letters for letter in gold):
        raise DataError(
            f"the gold answer {answer!r} is outside the options {letters[0]} to {letters[-1]}",
            where=row.where,
            hint="mend the answer; a document that nothing can answer would count as wrong for every model",
        )
    return {
        "id": doc_id,
        "question": question,
        "letters": letters,
        "options": list(options),
        "answer": gold,
        "subject": subject,
        "context": context,
        "rationale": rationale,
        "language": language,
        "cluster": cluster or doc_id,
    }


def promptcblue_document(row: Row, *, doc_id: str, language: str = "zh") -> Document:
    """Build one PromptCBLUE document from an official row.

    Raises:
        DataError: If a column is missing, the input is empty, or `answer_choices` is neither null nor a
            list of strings.
    """
    for column in ("input", "target", "answer_choices", "task_type", "task_dataset"):
        row.text(column)
    values = row.values
    choices = values["answer_choices"]
    if choices is None:
        choices = []
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise DataError(
            f"answer_choices is {type(choices).__name__}, expected null or a list of strings",
            where=row.where,
            hint="use the official PromptCBLUE row form",
        )
    if not isinstance(values["input"], str) or not values["input"].strip():
        raise DataError("the input is empty", where=row.where, hint="mend or remove the record")
    if not isinstance(values["target"], str):
        raise DataError("the target is not a text", where=row.where, hint="mend or remove the record")
    return {
        "id": doc_id,
        "input": values["input"],
        "target": values["target"],
        "answer_choices": list(choices),
        "task_type": row.text("task_type"),
        "task_dataset": row.text("task_dataset"),
        "sample_id": str(values.get("sample_id") or doc_id),
        "language": language,
        "cluster": str(values.get("cluster") or doc_id),
    }


def check_unique_ids(documents: Iterable[tuple[str, Document]]) -> None:
    """Refuse two documents with one id: their answers would be taken for each other's.

    Args:
        documents: Pairs of where a document comes from and the document.

    Raises:
        DataError: At the second document of an id, naming both places.
    """
    seen: dict[str, str] = {}
    for where, document in documents:
        first = seen.setdefault(document["id"], where)
        if first is not where:
            raise DataError(
                f"the id {document['id']!r} occurs twice, first in {first}",
                where=where,
                hint="give every document of a dataset an id of its own",
            )
