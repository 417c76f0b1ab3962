"""Subsets of an exam for the ``process_docs`` of task definitions.

They keep the order of the documents. An empty result is an error here; lm-eval would fail without a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medbench.errors import DataError

if TYPE_CHECKING:
    import datasets

__all__ = ["multiple_answer", "single_answer", "with_rationale"]


def single_answer(documents: datasets.Dataset) -> datasets.Dataset:
    """Keep the documents with exactly one right letter.

    Args:
        documents: Exam documents.

    Raises:
        DataError: If there are documents, but none with one.
    """
    return _keep(documents, "answer", lambda answer: len(answer) == 1, "with a single right answer")


def multiple_answer(documents: datasets.Dataset) -> datasets.Dataset:
    """Keep the documents with two or more right letters.

    Args:
        documents: Exam documents.

    Raises:
        DataError: If there are none, as in files that were reduced to single answers.
    """
    return _keep(documents, "answer", lambda answer: len(answer) > 1, "with several right answers")


def with_rationale(documents: datasets.Dataset) -> datasets.Dataset:
    """Keep the documents whose right answer is explained.

    Args:
        documents: Exam documents.

    Raises:
        DataError: If there are none.
    """
    return _keep(documents, "rationale", lambda text: bool(text.strip()), "with a rationale")


def _keep(
    documents: datasets.Dataset, column: str, wanted: Callable[[str], bool], which: str
) -> datasets.Dataset:
    kept = [index for index, value in enumerate(documents[column][:]) if wanted(value)]
    # A split without examples has no documents at all.
    if len(documents) and not kept:
        raise DataError(
            f"none of the {len(documents)} documents is one {which}",
            hint="use a source that has them, or leave the task out",
        )
    return documents.select(kept)
