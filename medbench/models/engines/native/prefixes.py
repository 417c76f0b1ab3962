"""Which prefix of token sequences to compute once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

__all__ = ["SharedPrefix", "find_prefixes"]

_MIN_LENGTH = 16  # a shorter prefix costs more in bookkeeping than it saves
_MIN_SAVING = 64  # tokens


class SharedPrefix(NamedTuple):
    """A prefix common to several sequences.

    Attributes:
        length: Its tokens.
        members: Indices of the sequences, at least two.
    """

    length: int
    members: tuple[int, ...]


@dataclass
class _Node:
    """An interval of the sorted sequences that share ``depth`` tokens."""

    depth: int
    left: int
    children: int = 0
    chosen: list[tuple[int, int, int]] = field(default_factory=list)


def find_prefixes(sequences: Sequence[Sequence[int]]) -> list[SharedPrefix]:
    """Choose prefixes, at most one per sequence, such that the fewest tokens are computed.

    A prefix always leaves its sequences at least one token of their own. Takes time in proportion to the
    tokens, but for the sorting.

    Args:
        sequences: Token ids, none empty.

    Returns:
        The prefixes worth sharing, each sequence in one at most.
    """
    keys = [np.asarray(sequence, dtype=">u4") for sequence in sequences]
    packed = [key.tobytes() for key in keys]
    order = sorted(range(len(keys)), key=packed.__getitem__)
    common = [_common(keys[a], keys[b]) for a, b in pairwise(order)]
    _, chosen = _best(common)
    return [
        SharedPrefix(depth, tuple(sorted(order[left : right + 1])))
        for left, right, depth in chosen
        if depth >= _MIN_LENGTH and depth * (right - left) >= _MIN_SAVING
    ]


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the common prefix that leaves both sequences a token."""
    length = min(len(a), len(b)) - 1
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length


def _best(common: Sequence[int]) -> tuple[int, list[tuple[int, int, int]]]:
    """The (left, right, depth) intervals that save most, from the common lengths of neighbors.

    The intervals of equal minimal common length form a tree; for each node, sharing its own depth saves
    ``depth * (members - 1)`` tokens, and competes with what its children save.
    """
    stack = [_Node(0, 0)]
    for place, depth in enumerate([*common, 0]):
        left, children, chosen = place, 0, list[tuple[int, int, int]]()
        while stack[-1].depth > depth:
            node = stack.pop()
            own = node.depth * (place - node.left)
            useful = node.depth >= _MIN_LENGTH
            if useful and own >= node.children + children:
                saved, picked = own, [(node.left, place, node.depth)]
            else:
                saved, picked = node.children + children, node.chosen + chosen
            left, children, chosen = node.left, saved, picked
        if stack[-1].depth == depth:
            stack[-1].children += children
            stack[-1].chosen += chosen
        else:
            stack.append(_Node(depth, left, children, chosen))
    return stack[0].children, stack[0].chosen
