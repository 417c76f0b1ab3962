"""The parts of an exam that definitions score."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.data.filters import multiple_answer, single_answer, with_rationale
from medbench.errors import DataError


def _documents(**columns: list[str]) -> Any:
    from datasets import Dataset

    count = len(next(iter(columns.values())))
    return Dataset.from_dict({"id": [str(number) for number in range(count)], **columns})


def test_filters_keep_order_and_split_the_documents() -> None:
    documents = _documents(answer=["B", "AC", "A", "ABCDE", "E"])
    assert single_answer(documents)["id"] == ["0", "2", "4"]
    assert multiple_answer(documents)["id"] == ["1", "3"]


def test_rationales_of_blanks_do_not_count() -> None:
    assert with_rationale(_documents(rationale=["why", "", " \n"]))["id"] == ["0"]


def test_a_split_without_documents_stays_empty() -> None:
    from datasets import Dataset

    none = Dataset.from_dict({"id": [], "answer": [], "rationale": []})
    assert [len(keep(none)) for keep in (single_answer, multiple_answer, with_rationale)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("keep", "column", "values"),
    [
        (single_answer, "answer", ["AB", "CD"]),
        (multiple_answer, "answer", ["A"]),
        (with_rationale, "rationale", [""]),
    ],
)
def test_nothing_left_is_an_error_that_says_what_is_missing(
    keep: Any, column: str, values: list[str]
) -> None:
    with pytest.raises(DataError, match=f"none of the {len(values)} documents"):
        keep(_documents(**{column: values}))
