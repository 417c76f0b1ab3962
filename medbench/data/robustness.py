"""Robustness of multiple-choice scores: permuted options, and documents right under every rotation.

Circular evaluation follows MMBench (Liu et al. 2023, arXiv:2307.06281): a question of n options is asked n
times, its options rotated by one place each time.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from medbench.data.documents import Document

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["circular_accuracy", "circular_documents", "permute_options", "rotations", "shuffle_documents"]


def permute_options(document: Document, order: Sequence[int]) -> Document:
    """A document with its options in another order and its gold letters moved along.

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
    # Seeded by the document and not by its position: a limit or a filter changes no permutation.
    digest = hashlib.sha256(f"{seed}\x00{document_id}".encode()).digest()
    order = list(range(n))
    random.Random(digest).shuffle(order)  # noqa: S311 not for secrets
    return order


def shuffle_documents(documents: Iterable[Document], seed: int) -> Iterator[Document]:
    """Permute the options of every document, the same way for the same seed and id."""
    for document in documents:
        yield permute_options(document, _order(document["id"], seed, len(document["options"])))


def rotations(document: Document) -> Iterator[Document]:
    """The n rotations of a document's options, the unrotated one first.

    Each has the id of the document with ``@`` and the rotation behind it, and the plain id as `origin`.
    """
    n = len(document["options"])
    for shift in range(n):
        rotated = permute_options(document, [(index + shift) % n for index in range(n)])
        yield {**rotated, "id": f"{document['id']}@{shift}", "origin": document["id"]}


def circular_documents(documents: Iterable[Document]) -> Iterator[Document]:
    """Repeat every document under each rotation of its options."""
    for document in documents:
        yield from rotations(document)


def circular_accuracy(frame: pd.DataFrame, score: str = "score", document: str = "document") -> float:
    """Share of documents that were answered rightly under every rotation.

    Args:
        frame: One row per rotation, the ids as :func:`rotations` makes them.
        score: Column that is 1 where the answer was right.
        document: Column with the ids of the rotations.

    Returns:
        A number between 0 and 1; NaN for an empty frame. A missing score counts as wrong.
    """
    if frame.empty:
        return float("nan")
    origin = frame[document].astype(str).str.rsplit("@", n=1).str[0]
    return float(frame[score].ge(1.0).groupby(origin).all().mean())
