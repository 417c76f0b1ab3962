"""Duplicates: questions within and between datasets, examples in the test split, options of a question."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from medbench.data.documents import Document


class Duplicate(NamedTuple):
    """Documents with the same question and the same options, in any order.

    Attributes:
        documents: The documents, each as (dataset, split, id).
        conflicting: Whether their gold answers differ, so that at least one is wrong.
        leaks: Whether a few-shot example of a dataset is in its own test split.
    """

    documents: tuple[tuple[str, str, str], ...]
    conflicting: bool
    leaks: bool


class RepeatedOptions(NamedTuple):
    """A question whose options repeat a text.

    Attributes:
        document: Dataset, split and id.
        letters: The letters of the options that share a text.
        gold: Whether the right option is among them, so that a right answer may count as wrong.
    """

    document: tuple[str, str, str]
    letters: str
    gold: bool


def _plain(text: str) -> str:
    """Normalized text: without width, case, spaces and punctuation, in which copies often differ."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if c.isalnum())


def question_key(document: Document) -> tuple[str, ...]:
    """Key that is equal for documents with the same question."""
    if "input" in document:
        return (_plain(document["input"]),)
    options = sorted(_plain(option) for option in document["options"])
    return (_plain(document["context"]), _plain(document["question"]), *options)


def _gold(document: Document) -> tuple[str, ...]:
    if "input" in document:
        return (_plain(document["target"]),)
    texts = dict(zip(document["letters"], document["options"], strict=True))
    return tuple(sorted(_plain(texts[letter]) for letter in document["answer"]))


def find_duplicates(
    datasets: Mapping[str, Mapping[str, Iterable[Document]]],
) -> tuple[Duplicate, ...]:
    """Find questions that occur more than once.

    Args:
        datasets: Documents by dataset and split.

    Returns:
        One entry per question, in the order of first occurrence.
    """
    found: dict[tuple[str, ...], list[tuple[tuple[str, str, str], tuple[str, ...]]]] = {}
    for dataset, splits in datasets.items():
        for split, documents in splits.items():
            for document in documents:
                where = (dataset, split, str(document["id"]))
                found.setdefault(question_key(document), []).append((where, _gold(document)))
    duplicates = []
    for members in found.values():
        if len(members) < 2:
            continue
        splits_of: dict[str, set[str]] = {}
        for (dataset, split, _), _gold_texts in members:
            splits_of.setdefault(dataset, set()).add(split)
        duplicates.append(
            Duplicate(
                documents=tuple(where for where, _ in members),
                conflicting=len({gold for _, gold in members}) > 1,
                leaks=any(len(splits) > 1 for splits in splits_of.values()),
            )
        )
    return tuple(duplicates)


_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def repeated(options: Sequence[str]) -> list[int]:
    """Positions of options that share a text, ignoring spaces, case and the width of letters."""
    texts = [" ".join(option.translate(_NARROW).casefold().split()) for option in options]
    return [index for index, text in enumerate(texts) if texts.count(text) > 1]


def find_repeated_options(
    datasets: Mapping[str, Mapping[str, Iterable[Document]]],
) -> tuple[RepeatedOptions, ...]:
    """Find questions whose options repeat one another.

    Args:
        datasets: Documents by dataset and split; those without options are skipped.

    Returns:
        One entry per question, in the order of the documents.
    """
    found = []
    for dataset, splits in datasets.items():
        for split, documents in splits.items():
            for document in documents:
                letters = "".join(document["letters"][i] for i in repeated(document.get("options", ())))
                if letters:
                    where = (dataset, split, str(document["id"]))
                    found.append(
                        RepeatedOptions(where, letters, bool(set(letters) & set(document["answer"])))
                    )
    return tuple(found)
