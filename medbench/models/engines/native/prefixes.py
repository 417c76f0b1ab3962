"""Prefixes that several token sequences share: which to compute once, and their cached keys and values.

``share_prefixes`` chooses a prefix for each sequence. Before a batch, ``PrefixCache.fill`` computes the
prefixes that it needs; after it, ``PrefixCache.release`` drops those that no waiting sequence needs anymore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medbench.models.engines.native.packing import KVCache, Pack, Segment
from medbench.models.routing.counts import CreditSpan
from medbench.models.routing.recorder import Recorder

# Runs one forward: token ids, positions, the pack, and whom its tokens are credited to.
Forward = Callable[[Sequence[int], Sequence[int], Pack, Sequence[CreditSpan]], Tensor]

_MIN_LENGTH = 16  # tokens; a shorter prefix costs more in bookkeeping than it saves
_MIN_SAVING = 64  # tokens


class SharedPrefix(NamedTuple):
    """A prefix common to several sequences.

    Attributes:
        length: Its tokens.
        members: Indices of the sequences, at least two.
    """

    length: int
    members: tuple[int, ...]


@dataclass(eq=False)
class Prefix:
    """The common start of several sequences.

    Attributes:
        tokens: Its token ids.
        waiting: Sequences that still need it.
        room: Tokens that its cache row has room for behind the prefix.
        store: Its keys and values; ``None`` until they are computed, and after the last sequence.
    """

    tokens: tuple[int, ...]
    waiting: int
    room: int = 0
    store: KVCache | None = None

    @property
    def length(self) -> int:
        """Number of its tokens."""
        return len(self.tokens)


class PrefixCache:
    """Computes prefixes when they are first needed and frees them after their last use.

    A prefix is credited to itself; the recorder passes its counts on to those that go on from it.

    Args:
        forward: Runs a pack through the model.
        recorder: Counts router choices.
        device: Device of the token ids.
    """

    def __init__(self, forward: Forward, recorder: Recorder, device: torch.device) -> None:
        self._forward = forward
        self._recorder = recorder
        self._device = device

    def fill(self, prefixes: Iterable[Prefix | None], stretch: int, budget: int) -> None:
        """Compute the keys and values of the prefixes that lack them.

        Args:
            prefixes: What a batch goes on from; repetitions and ``None`` are skipped.
            stretch: The stretch of lengths that their sequences belong to.
            budget: Tokens per forward; one prefix may be longer.
        """
        missing = [prefix for prefix in dict.fromkeys(prefixes) if prefix and prefix.store is None]
        while missing:
            taken = [missing.pop(0)]
            while missing and sum(p.length for p in taken) + missing[0].length <= budget:
                taken.append(missing.pop(0))
            self._compute(taken, stretch)

    def release(self, prefixes: Iterable[Prefix | None]) -> None:
        """Note that one sequence is done with each of these prefixes; free those that none needs."""
        for prefix in prefixes:
            if prefix is None:
                continue
            prefix.waiting -= 1
            if not prefix.waiting:
                prefix.store = None
                self._recorder.discard([prefix])

    def _compute(self, prefixes: Sequence[Prefix], stretch: int) -> None:
        """Compute prefixes in one forward."""
        ids: list[int] = []
        positions: list[int] = []
        segments: list[Segment] = []
        spans: list[CreditSpan] = []
        stores = [KVCache(1, prefix.length + prefix.room) for prefix in prefixes]
        for prefix, store in zip(prefixes, stores, strict=True):
            start = len(ids)
            ids += prefix.tokens
            positions += range(prefix.length)
            own = torch.arange(prefix.length, device=self._device)
            segments.append(Segment(start, len(ids), own, store=store))
            spans.append(CreditSpan(prefix, 0, start, len(ids)))
        self._forward(ids, positions, Pack(segments, stretch=stretch), spans)
        for prefix, store in zip(prefixes, stores, strict=True):
            prefix.store = store


def share_prefixes(sequences: Sequence[tuple[int, ...]]) -> list[Prefix | None]:
    """The prefix of each sequence, ``None`` where sharing one is not worth it."""
    found: list[Prefix | None] = [None] * len(sequences)
    for shared in find_prefixes(sequences):
        prefix = Prefix(sequences[shared.members[0]][: shared.length], len(shared.members))
        for member in shared.members:
            found[member] = prefix
    return found


@dataclass
class _Node:
    """An interval of the sorted sequences whose first ``depth`` tokens are equal."""

    depth: int
    left: int
    children: int = 0
    chosen: list[tuple[int, int, int]] = field(default_factory=list)


def find_prefixes(sequences: Sequence[Sequence[int]]) -> list[SharedPrefix]:
    """Choose prefixes, at most one per sequence, so that the fewest tokens are computed.

    A prefix always leaves its sequences at least one token of their own. Apart from sorting, the time is
    proportional to the number of tokens.

    Args:
        sequences: Token ids, none empty.

    Returns:
        The prefixes worth sharing; each sequence is in at most one.
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
    """Length of the common prefix that leaves both sequences at least one token."""
    length = min(len(a), len(b)) - 1
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length


def _best(common: Sequence[int]) -> tuple[int, list[tuple[int, int, int]]]:
    """The (left, right, depth) intervals that save most, from the common lengths of adjacent sequences.

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
