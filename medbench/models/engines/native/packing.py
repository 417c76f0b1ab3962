"""Packed forwards: the tokens of many sequences in one row, without padding.

A pack is a row of N tokens. Linear layers, norms and routers see just N tokens; only attention needs to know
which token belongs to which sequence::

    tokens   d d d │ p p p p p │ p p p p a a b b b │ ...
             decode   segment      segment (a, b: two continuations of one context)

- the *decode block*: one new token of each of the first rows of a KV cache;
- *segments*: consecutive tokens of one sequence, or of a context with several continuations, each of which
  attends to the context and itself (by its mask). A segment may continue from keys already in a KV cache.

Attention is torch's scaled dot-product attention; :mod:`medbench.models.engines.native.attention` installs it
in the model.
"""

from __future__ import annotations

import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

_ROUND = 128  # a cache's capacity is rounded up to a multiple of this many tokens
_GROWTH = 1.5  # factor by which a full cache grows, so that keys are rarely copied
# Rows of a decoding step that attend together, padded to the longest of them. On a CPU reading keys costs
# most (so few rows), on a GPU launches do (so all rows).
_SPAN = 4


class KVCache:
    """Keys and values of some sequences in every layer.

    Args:
        rows: Sequences.
        capacity: Tokens per sequence.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows = rows
        self.capacity = capacity
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, [rows, heads, capacity, width] each.

        Args:
            index: The layer.
            keys: [1, heads, tokens, width] keys of the layer, for their shape and type.
            values: Values of the layer, whose width may differ.
        """
        held = self._layers.get(index)
        if held is None or held[0].shape[0] < self.rows or held[0].shape[2] < self.capacity:
            grown = (self._empty(keys), self._empty(values))
            if held is not None:
                for new, old in zip(grown, held, strict=True):
                    new[: old.shape[0], :, : old.shape[2]] = old
            self._layers[index] = held = grown
        return held

    def _empty(self, like: Tensor) -> Tensor:
        return _zeros((self.rows, like.shape[1], self.capacity, like.shape[3]), like)

    def reserve(self, rows: int, capacity: int, *, most_rows: int, most_capacity: int) -> None:
        """Grow if needed, with some room to spare; a layer grows when it is next used.

        Args:
            rows: Sequences needed now.
            capacity: Tokens per sequence needed now.
            most_rows: Sequences that may be needed.
            most_capacity: Tokens per sequence that may be needed.
        """
        if rows > self.rows:
            self.rows = max(rows, min(most_rows, int(_GROWTH * rows)))
        if capacity > self.capacity:
            roomy = max(capacity, min(most_capacity, int(_GROWTH * capacity)))
            self.capacity = -(-roomy // _ROUND) * _ROUND

    def take(self, other: KVCache, rows: int) -> None:
        """Copy the first rows of another store, as far as they fit."""
        for index, (keys, values) in other._layers.items():
            own_keys, own_values = self.layer(index, keys[:1], values[:1])
            length = min(self.capacity, other.capacity, keys.shape[2])
            own_keys[:rows, :, :length] = keys[:rows, :, :length]
            own_values[:rows, :, :length] = values[:rows, :, :length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of a row to another row."""
        for keys, values in self._layers.values():
            keys[target, :, :length] = keys[source, :, :length]
            values[target, :, :length] = values[source, :, :length]


def _zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Zeros; on a CPU, memory is allocated page by page on first write, since rows are rarely full."""
    if like.device.type != "cpu" or not hasattr(mmap, "MAP_ANONYMOUS"):
        return like.new_zeros(shape)
    size = math.prod(shape) * like.itemsize
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no {size} bytes for keys and values") from error
    return torch.frombuffer(pages, dtype=like.dtype).view(*shape)


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens of a pack.

    Attributes:
        start: First token in the pack.
        stop: One past the last.
        positions: [stop - start] positions of the tokens in their sequences.
        store: KV cache with earlier keys, to which the segment's own are added; ``None``: no cache.
        row: Its row in the cache.
        past: Tokens before the segment in that row.
        prefix: A store whose row 0 is copied to the row first (``past`` tokens of it).
        mask: [tokens, past + tokens] to add to attention scores; ``None``: causal.
    """

    start: int
    stop: int
    positions: Tensor
    store: KVCache | None = None
    row: int = 0
    past: int = 0
    prefix: KVCache | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class DecodeBlock:
    """The first tokens of a pack: token i continues row i of a KV cache.

    Attributes:
        store: The KV cache.
        lengths: [rows] tokens already in each row, on the device.
        mask: [rows, 1, 1, longest + 1] to add to attention scores.
        spans: Rows that attend together, as (first, one past the last, tokens of the longest).
    """

    store: KVCache
    lengths: Tensor
    mask: Tensor
    spans: Sequence[tuple[int, int, int]]

    @classmethod
    def of(
        cls,
        store: KVCache,
        lengths: Tensor,
        spans: Sequence[tuple[int, int, int]],
        *,
        dtype: torch.dtype,
    ) -> Self:
        """The block of rows with these lengths; its mask is made on their device."""
        longest = max(reach for _, _, reach in spans)
        hidden = torch.arange(longest, device=lengths.device)[None, :] > lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=dtype, device=lengths.device)
        return cls(store, lengths, mask.masked_fill_(hidden, float("-inf"))[:, None, None, :], spans)

    @property
    def rows(self) -> int:
        """Tokens of the block."""
        return len(self.lengths)


def decode_spans(lengths: Sequence[int], device: torch.device) -> list[tuple[int, int, int]]:
    """Which rows of a decoding step attend together; adjacent rows should have similar lengths."""
    step = _SPAN if device.type == "cpu" else len(lengths)
    return [
        (first, min(first + step, len(lengths)), max(lengths[first : first + step]) + 1)
        for first in range(0, len(lengths), step)
    ]


class MaskRule(ABC):
    """What a token may see within its sequence, in addition to the pack: a window, a chunk."""

    @abstractmethod
    def causal_up_to(self, tokens: int) -> bool:
        """Whether in a sequence of so many tokens a token sees all before it."""

    @abstractmethod
    def hidden(self, query: Tensor, key: Tensor) -> Tensor:
        """What is not seen.

        Args:
            query: [Q] positions.
            key: [K] positions.

        Returns:
            [Q, K], true where a query does not see a key.
        """


@dataclass
class Pack:
    """What attention needs to know about the tokens of one forward.

    Attributes:
        segments: Sequences, or parts of them.
        decode: Tokens in front of them that continue rows of a KV cache.
        stretch: The stretch of lengths (:mod:`medbench.models.engines.native.rope`) that all sequences
            belong to.
    """

    segments: Sequence[Segment]
    decode: DecodeBlock | None = None
    stretch: int = 0
    _masks: dict[tuple[int, MaskRule], Tensor] = field(default_factory=dict)
    _elsewhere: dict[torch.device, Pack] = field(default_factory=dict)

    def on(self, device: torch.device) -> Pack:
        """The same pack for layers on another device; cached keys stay with their layers."""
        block = self.decode
        home = block.lengths.device if block is not None else self.segments[0].positions.device
        if device == home:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = Pack(
                [
                    replace(
                        segment,
                        positions=segment.positions.to(device),
                        mask=None if segment.mask is None else segment.mask.to(device),
                    )
                    for segment in self.segments
                ],
                None
                if block is None
                else replace(block, lengths=block.lengths.to(device), mask=block.mask.to(device)),
                self.stretch,
            )
        return self._elsewhere[device]

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        rule: MaskRule | None,
    ) -> Tensor:
        """Attention of one layer.

        Args:
            layer: Its index.
            query: [1, heads, N, width].
            key: [1, key heads, N, width].
            value: [1, key heads, N, width].
            scaling: Factor of the scores; ``None``: one over the root of the width.
            rule: What a token sees; ``None``: all earlier tokens.

        Returns:
            [1, N, heads, width].
        """
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        if self.decode is not None:
            rows = self.decode.rows
            out[0, :rows] = self._decode(self.decode, layer, query, key, value, scaling, rule)
        for number, segment in enumerate(self.segments):
            span = slice(segment.start, segment.stop)
            keys, values = key[:, :, span], value[:, :, span]
            if segment.store is not None:
                keys, values = _append(segment, layer, keys, values)
            mask = self._mask(number, segment, rule, query)
            groups = query.shape[1] // keys.shape[1]
            if groups > 1:
                keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
            result = F.scaled_dot_product_attention(
                query[:, :, span], keys, values, attn_mask=mask, is_causal=mask is None, scale=scaling
            )
            out[:, span] = result.transpose(1, 2)
        return out

    def _mask(self, number: int, segment: Segment, rule: MaskRule | None, like: Tensor) -> Tensor | None:
        """The segment's mask, combined with the model's rule where that hides more."""
        total = segment.past + segment.stop - segment.start
        if rule is None or rule.causal_up_to(total):
            if segment.mask is None and segment.past:
                raise AssertionError("a segment with a past needs a mask")
            return segment.mask
        found = self._masks.get((number, rule))
        if found is None:
            own = segment.positions
            keys = torch.cat([torch.arange(segment.past, device=own.device), own])
            hidden = rule.hidden(own, keys)
            if segment.mask is None:
                hidden = hidden | (keys[None, :] > own[:, None])
                base = like.new_zeros(hidden.shape)
            else:
                base = segment.mask
            found = self._masks[number, rule] = base.masked_fill(hidden, float("-inf"))
        return found

    def _decode(
        self,
        block: DecodeBlock,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        rule: MaskRule | None,
    ) -> Tensor:
        rows, longest = block.rows, block.mask.shape[3]
        keys, values = block.store.layer(layer, key, value)
        which = torch.arange(rows, device=query.device)
        keys[which, :, block.lengths] = key[0, :, :rows].transpose(0, 1)
        values[which, :, block.lengths] = value[0, :, :rows].transpose(0, 1)
        mask = block.mask
        if rule is not None and not rule.causal_up_to(longest):
            found = self._masks.get((-1, rule))
            if found is None:
                hidden = rule.hidden(block.lengths, torch.arange(longest, device=query.device))
                found = mask.masked_fill(hidden[:, None, None, :], float("-inf"))
                self._masks[-1, rule] = found
            mask = found
        # Query heads that share a key head become tokens of one head: no key is repeated.
        heads = key.shape[1]
        grouped = query[0, :, :rows].transpose(0, 1).reshape(rows, heads, -1, query.shape[3])
        mask = mask.expand(-1, -1, grouped.shape[2], -1)
        parts = [
            F.scaled_dot_product_attention(
                grouped[first:last],
                keys[first:last, :, :reach],
                values[first:last, :, :reach],
                attn_mask=mask[first:last, :, :, :reach],
                scale=scaling,
            )
            for first, last, reach in block.spans
        ]
        return torch.cat(parts).reshape(rows, query.shape[1], -1)


def _append(segment: Segment, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Append a segment's keys to its past; return both, [1, heads, past + tokens, width]."""
    assert segment.store is not None
    past, stop = segment.past, segment.past + key.shape[2]
    keys, values = segment.store.layer(layer, key, value)
    row = slice(segment.row, segment.row + 1)
    if segment.prefix is not None:
        before_keys, before_values = segment.prefix.layer(layer, key, value)
        keys[row, :, :past] = before_keys[:1, :, :past]
        values[row, :, :past] = before_values[:1, :, :past]
    keys[row, :, past:stop] = key
    values[row, :, past:stop] = value
    return keys[row, :, :stop], values[row, :, :stop]


def tree_mask(
    past: int, context: int, branches: Sequence[int], *, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """The mask of a context and its branches (continuations).

    Args:
        past: Tokens before the context, seen by all.
        context: Tokens of the context.
        branches: Tokens of each branch; a branch sees the past, the context and itself.
        dtype: Of the mask.
        device: Of the mask.

    Returns:
        [tokens, past + tokens] to add to attention scores: 0 or minus infinity. ``None`` if plain causal
        attention is right.
    """
    branches = [length for length in branches if length]
    if not past and len(branches) <= 1:
        return None
    total = context + sum(branches)
    hidden = torch.ones(total, past + total, dtype=torch.bool).triu_(past + 1)
    start = context
    for length in branches[:-1]:
        start += length
        hidden[start:, past + start - length : past + start] = True
    mask = torch.zeros(total, past + total, dtype=dtype)
    return mask.masked_fill_(hidden, float("-inf")).to(device)
