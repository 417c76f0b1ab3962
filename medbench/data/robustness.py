"""Robustness of multiple-choice scores: permuted options, and circular evaluation.

Circular evaluation follows MMBench (Liu et al. 2023, arXiv:2307.06281): a question of n options is asked n
times, its options rotated by one place each time.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence

from medbench.data.documents import Document


def permute_options(document: Document, order: Sequence[int]) -> Document:
    """Reorder the options of a document, and its gold letters with them.

    Args:
        document: An exam document with n options.
        order: Permutation of 0 … n-1; position i shows what was option ``order[i]``.

    Raises:
        ValueError: If `order` is not a permutation of the options.
    """
    letters, options = document["letters"], document["options"]
    if sorted(order) != list(range(len(options))):
        raise ValueError(f"{list(order)} is not a permutation of {len(options)} options")
    gold = {letters.index(letter) for letter in document["answer"]}
    return {
        **document,
        "options": [options[index] for index in order],
        "answer": "".join(letter for letter, index in zip(letters, order, strict=True) if index in gold),
    }


def _order(document_id: str, seed: int, n: int) -> list[int]:
    # Seeded by the document and not by its position, so that limits and filters change no permutation.
    digest = hashlib.sha256(f"{seed}\x00{document_id}".encode()).digest()
    order = list(range(n))
    random.Random(digest).shuffle(order)  # noqa: S311 not for secrets
    return order


def shuffle_documents(documents: Iterable[Document], seed: int) -> Iterator[Document]:
    """Permute the options of every document, depending on seed and id only."""
    for document in documents:
        yield permute_options(document, _order(document["id"], seed, len(document["options"])))


def rotations(document: Document) -> Iterator[Document]:
    """The n rotations of a document's options, beginning with the original order.

    Each has the id of the document with ``@`` and the rotation behind it, and the plain id as `origin`.
    """
    n = len(document["options"])
    for shift in range(n):
        rotated = permute_options(document, [(index + shift) % n for index in range(n)])
        yield {**rotated, "id": f"{document['id']}@{shift}", "origin": document["id"]}


def circular_documents(documents: Iterable[Document]) -> Iterator[Document]:
    """Repeat every document with each rotation of its options."""
    for document in documents:
        yield from rotations(document)


def right_in_every_rotation(documents: Iterable[Document], scores: Iterable[float | None]) -> dict[str, bool]:
    """Say for each question whether it was answered correctly under every rotation of its options.

    Args:
        documents: Rotations as made by :func:`rotations`; other documents are skipped.
        scores: 1 for each correct answer. A missing score counts as wrong.

    Returns:
        By id of the question, in the order of their first rotations. A question with missing rotations (cut
        off by a limit) is left out, because its result is unknown.
    """
    right: dict[str, dict[str, bool]] = {}
    options: dict[str, int] = {}
    for document, score in zip(documents, scores, strict=True):
        if question := document.get("origin"):
            # NaN counts as wrong, too.
            right.setdefault(question, {})[document["id"]] = score is not None and score >= 1.0
            options[question] = len(document["options"])
    return {
        question: all(found.values()) for question, found in right.items() if len(found) == options[question]
    }
