"""Continuous batching: rows of a key-value store decode side by side; a row that ends makes room at once.

Every forward takes one new token of each row at work, and with them the prompts of rows that are admitted.
The rows at work are always the first of the store: when one ends, the last takes its place.

Where the model's rotary positions depend on the length of a sequence, all rows at work lie in one stretch of
lengths. One that grows out of it waits until the others are done, and is computed anew in the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from medbench.models.architecture.memory import is_out_of_memory, release_memory
from medbench.models.engines.native.budget import key_value_tokens
from medbench.models.engines.native.decode_graphs import Capture, DecodeGraphs
from medbench.models.engines.native.failures import FailedRequest, failure
from medbench.models.engines.native.forward import PackedModel
from medbench.models.engines.native.generation_rows import (
    Generation,
    GenerationCallback,
    GenerationRequest,
    Prefix,
    Row,
)
from medbench.models.engines.native.packing import (
    DecodeBlock,
    KeyValues,
    Pack,
    Segment,
    decode_spans,
    tree_mask,
)
from medbench.models.engines.native.prefixes import find_prefixes
from medbench.models.routing.counts import RoutingLabel
from medbench.models.routing.recorder import Owned, Recorder

__all__ = ["GenerationPass"]

# Where steps run as graphs, prompts are admitted when so large a part of the rows at work has ended.
_GROUP = 8


class GenerationPass:
    """Continues prompts.

    Args:
        model: The model.
        recorder: Counts router choices.
        max_batch_tokens: Tokens per forward; one prompt may be longer.
        max_rows: Rows at work at once.
        share_prefixes: Whether a common start of several prompts is computed once.
        capture: Records decoding steps as graphs; ``None``: they run as they are.
    """

    def __init__(
        self,
        model: PackedModel,
        recorder: Recorder,
        max_batch_tokens: int,
        max_rows: int,
        *,
        share_prefixes: bool = True,
        capture: Capture | None = None,
    ) -> None:
        self._model = model
        self._recorder = recorder
        self._budget = max_batch_tokens
        self._held = key_value_tokens(max_batch_tokens, model)
        self._max_rows = max_rows
        self._share = share_prefixes
        self._store = KeyValues(0, 0)
        self._active: list[Row] = []
        self._graphs = None if capture is None else DecodeGraphs(model, recorder, capture)
        self._failed: list[FailedRequest] = []
        self._labels: Sequence[RoutingLabel] | None = None
        self._stretch = 0
        self._later: list[Row] = []

    def run(
        self,
        requests: Sequence[GenerationRequest],
        labels: Sequence[RoutingLabel] | None,
        on_batch: GenerationCallback | None,
    ) -> list[Generation]:
        """Continue all prompts; see :meth:`medbench.models.engines.engine.Engine.generate`."""
        self._labels = labels
        results: list[Generation | None] = [None] * len(requests)
        self._later = [Row(index, request, counted=request.counted) for index, request in enumerate(requests)]
        queue = deque[Row]()
        try:
            while queue or self._active or self._later:
                if not queue and not self._active:
                    queue = self._next_stretch()
                admitted = self._admit(queue)
                try:
                    finished = self._step(admitted)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    self._retreat(admitted, queue)
                    continue
                for index, generation in finished:
                    results[index] = generation
                if finished and on_batch is not None:
                    on_batch([index for index, _ in finished], [generation for _, generation in finished])
        finally:
            self._recorder.clear()
        if self._failed:
            raise failure(self._failed, labels)
        return [generation for generation in results if generation is not None]

    def _next_stretch(self) -> deque[Row]:
        """The waiting rows of the shortest stretch of lengths that has any."""
        stretch_of = self._model.rope.stretch
        self._stretch = min(stretch_of(row.size) for row in self._later)
        now = [row for row in self._later if stretch_of(row.size) == self._stretch]
        self._later = [row for row in self._later if stretch_of(row.size) != self._stretch]
        self._store = KeyValues(0, 0)
        return self._queue(now)

    def _queue(self, rows: list[Row]) -> deque[Row]:
        """Rows in the order of admission: long limits first, lest stragglers decode alone at the end."""
        groups: dict[int, int] = {}
        if self._share:
            for number, shared in enumerate(find_prefixes([row.request.prompt for row in rows])):
                members = [rows[member] for member in shared.members]
                prefix = Prefix(members[0].request.prompt[: shared.length], len(members))
                for row in members:
                    groups[row.index] = number
                    # A prefix counts for a row as a whole or not at all.
                    if row.counted == 0 or row.counted >= shared.length:
                        row.prefix = prefix
                    else:
                        prefix.waiting -= 1
        rows.sort(key=lambda row: (-row.request.max_new_tokens, groups.get(row.index, -1), -row.to_feed))
        return deque(rows)

    def _admit(self, queue: deque[Row]) -> list[Row]:
        """Take as many waiting rows as the budget lets in; at least one if none is at work."""
        admitted: list[Row] = []
        tokens = len(self._active)
        widest = max((row.reserved for row in self._active), default=0)
        while queue and len(self._active) + len(admitted) < self._max_rows:
            row = queue[0]
            prefix = row.prefix if row.prefix and row.prefix.store is None else None
            tokens += row.to_feed + (len(prefix.tokens) if prefix else 0)
            widest = max(widest, row.reserved)
            held = widest * (len(self._active) + len(admitted) + 1)
            at_work = bool(self._active or admitted)
            if at_work and tokens > self._budget:
                return admitted
            if at_work and held > self._held:
                break
            admitted.append(queue.popleft())
        if self._graphs is not None and queue and len(admitted) < len(self._active) // _GROUP:
            # A step that admits runs without a graph: a few free slots wait until they are worth one.
            queue.extendleft(reversed(admitted))
            return []
        return admitted

    def _retreat(self, admitted: Sequence[Row], queue: deque[Row]) -> None:
        """Halve the budget: what was about to be admitted waits, or half of the rows at work start over."""
        if self._graphs is not None:
            self._graphs.clear()
        release_memory(self._model.device)
        if not admitted and len(self._active) > 1:
            kept = len(self._active) // 2
            evicted, self._active = self._active[kept:], self._active[:kept]
            self._held = max(1, sum(row.reserved for row in self._active))
            self._max_rows = kept
            queue.extendleft(reversed(evicted))
            self._store = self._shrunk(kept)
        elif len(admitted) > 1 or (admitted and self._active):
            self._budget = max(1, sum(row.to_feed for row in admitted) // 2)
            if len(admitted) == 1:
                # It did not fit beside the rows at work; it is tried again when fewer are left.
                self._max_rows = max(1, len(self._active))
            queue.extendleft(reversed(admitted))
        else:
            (row,) = admitted or self._active
            self._failed.append(FailedRequest.too_large(row.index, row.length or row.to_feed))
            self._recorder.discard([row.index])
            self._leave(admitted)
            self._active = []
            self._store = KeyValues(0, 0)

    def _shrunk(self, rows: int) -> KeyValues:
        store = KeyValues(rows, max(row.length for row in self._active[:rows]) + 1)
        store.take(self._store, rows)
        return store

    def _step(self, admitted: Sequence[Row]) -> list[tuple[int, Generation]]:
        """One forward: a token for each row at work, the first for those admitted."""
        self._fill(dict.fromkeys(row.prefix for row in admitted if row.prefix and row.prefix.store is None))
        admitted = sorted(admitted, key=lambda row: row.size)  # neighbors of a length attend together
        rows = [*self._active, *admitted]
        self._store.reserve(
            len(rows),
            max(row.size for row in rows),
            most_rows=self._max_rows,
            most_capacity=max(row.reserved for row in rows),
        )
        ids, lengths, owned = self._working()
        states = None
        if self._graphs is not None and not admitted:
            states = self._graphs.run(self._store, ids, lengths, owned, self._stretch)
        if states is None:
            states = self._forward(ids, lengths, owned, admitted)
        for row in rows:
            if row.prefix and not row.counted:
                self._recorder.share(row.prefix, {row.index: 1})
            # Before anything else can fail: what was counted must not count again.
            row.counted = row.size
        chosen = self._choose(states, rows)
        self._leave(admitted)
        self._active = rows
        for row in rows:
            row.length = row.size
        return self._settle(rows, chosen)

    def _working(self) -> tuple[list[int], list[int], list[Owned]]:
        """The last tokens of the rows at work, their positions, and who counts them."""
        ids = [row.new[-1] for row in self._active]
        lengths = [row.length for row in self._active]
        owned = [
            part
            for place, row in enumerate(self._active)
            for part in row.owned(row.length, row.length + 1, place)
        ]
        return ids, lengths, owned

    def _forward(
        self, ids: list[int], positions: list[int], owned: list[Owned], admitted: Sequence[Row]
    ) -> Tensor:
        """Last hidden states of the rows at work, with whom the lists begin, and of those admitted."""
        device = self._model.device
        segments: list[Segment] = []
        working = len(self._active)
        block = self._decode_block(positions) if working else None
        ends = list(range(working))
        for slot, row in enumerate(admitted, start=working):
            past = len(row.prefix.tokens) if row.prefix else 0
            start = len(ids)
            ids += row.tokens[past:]
            positions += range(past, past + len(ids) - start)
            ends.append(len(ids) - 1)
            owned += row.owned(past, row.size, start)
            segments.append(
                Segment(
                    start,
                    len(ids),
                    torch.arange(past, past + len(ids) - start, device=device),
                    store=self._store,
                    row=slot,
                    past=past,
                    prefix=row.prefix.store if row.prefix else None,
                    mask=tree_mask(past, len(ids) - start, (), dtype=self._model.dtype, device=device),
                )
            )
        hidden = self._run(ids, positions, Pack(segments, block, self._stretch), owned)
        return hidden[torch.tensor(ends, device=device)]

    def _decode_block(self, lengths: Sequence[int]) -> DecodeBlock:
        device = self._model.device
        held = torch.tensor(lengths, device=device)
        return DecodeBlock.of(self._store, held, decode_spans(lengths, device), dtype=self._model.dtype)

    def _run(
        self, ids: Sequence[int], positions: Sequence[int], pack: Pack, owned: Iterable[Owned]
    ) -> Tensor:
        device = self._model.device
        tokens = torch.tensor(ids, device=device)
        places = torch.tensor(positions, device=device)
        return self._recorder.observe(lambda: self._model.hidden(tokens, places, pack), owned, ids, positions)

    def _fill(self, prefixes: Iterable[Prefix]) -> None:
        """Compute the keys of prefixes."""
        for prefix in prefixes:
            length = len(prefix.tokens)
            store = KeyValues(1, length)
            own = torch.arange(length, device=self._model.device)
            segment = Segment(0, length, own, store=store)
            pack = Pack([segment], stretch=self._stretch)
            self._run(prefix.tokens, range(length), pack, [Owned(prefix, 0, 0, length)])
            prefix.store = store

    def _leave(self, rows: Iterable[Row]) -> None:
        """These rows hold their prefix themselves now; let go of prefixes nobody waits for."""
        for row in rows:
            prefix, row.prefix = row.prefix, None
            if prefix is None:
                continue
            prefix.waiting -= 1
            if not prefix.waiting:
                prefix.store = None
                self._recorder.discard([prefix])

    def _choose(self, hidden: Tensor, rows: Sequence[Row]) -> list[int | None]:
        """The next token of each row; ``None`` where the logits are not finite."""
        chosen: list[int | None] = [None] * len(rows)
        # What no processor changes is computed of the allowed tokens only.
        few = [row.request.allowed is not None and row.request.processors is None for row in rows]
        whole = [place for place in range(len(rows)) if not few[place]]
        for start in range(0, len(whole), self._model.head_rows):
            part = whole[start : start + self._model.head_rows]
            taken = hidden if len(part) == len(rows) else hidden[torch.tensor(part, device=hidden.device)]
            logits = self._model.logits(taken)
            top, likeliest = logits.max(dim=1)
            finite = torch.isfinite(top).tolist()
            for number, (place, token) in enumerate(zip(part, likeliest.tolist(), strict=True)):
                if finite[number]:
                    chosen[place] = rows[place].choose(logits[number], token)
        for place, row in enumerate(rows):
            if few[place] and row.request.allowed is not None:
                only = torch.tensor(row.request.allowed, device=hidden.device)
                chosen[place] = row.choose_among(self._model.logits(hidden[place : place + 1], only)[0])
        return chosen

    def _settle(self, rows: Sequence[Row], chosen: Sequence[int | None]) -> list[tuple[int, Generation]]:
        """Append the chosen tokens, and take finished rows out."""
        finished: list[tuple[int, Generation]] = []
        ended: list[int] = []
        for place, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if token is None:
                self._failed.append(FailedRequest.not_finite(row.index))
                self._recorder.discard([row.index])
                ended.append(place)
                continue
            row.new.append(token)
            reason = row.ends_with(token)
            if reason is not None:
                finished.append((row.index, Generation(row.new, reason)))
                ended.append(place)
            elif self._model.rope.stretch(row.size) != self._stretch:
                row.length = 0
                self._later.append(row)
                ended.append(place)
        for place in reversed(ended):
            last = self._active.pop()
            if place < len(self._active):
                self._store.move(len(self._active), place, last.length)
                self._active[place] = last
        labels = self._labels
        self._recorder.release(
            {index: labels[index] if labels is not None else ("", -1) for index, _ in finished}
        )
        return finished
