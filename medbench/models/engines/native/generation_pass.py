"""Continuous batching: rows of a KV cache decode side by side; a row that ends makes room at once.

Every forward takes one new token of each active row, and the prompts of newly admitted rows. Active rows are
always the first rows of the cache: when one ends, the last takes its place.

Where the model's rotary positions depend on the length of a sequence, all active rows lie in one stretch of
lengths. A row that grows out of it waits until the others are done, and is computed again in the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from medbench.models.architecture.memory import release_memory
from medbench.models.engines.native.budget import key_value_tokens
from medbench.models.engines.native.decode_graphs import Capture, DecodeGraphs
from medbench.models.engines.native.forward import FailedRequest, PackedModel, PackedPass
from medbench.models.engines.native.generation_rows import (
    Generation,
    GenerationCallback,
    GenerationRequest,
    Row,
)
from medbench.models.engines.native.packing import (
    DecodeBlock,
    KVCache,
    Pack,
    Segment,
    decode_spans,
    tree_mask,
)
from medbench.models.engines.native.prefixes import Prefix, share_prefixes
from medbench.models.routing.counts import UNLABELED, CreditSpan, RoutingLabel
from medbench.models.routing.recorder import Recorder

# With graphs, prompts are admitted only once this share of the active rows has ended: one in eight.
_GROUP = 8


class GenerationPass(PackedPass):
    """Continues prompts.

    Args:
        model: The model.
        recorder: Counts router choices.
        max_batch_tokens: Tokens per forward; a single prompt may be longer.
        max_rows: Rows that are active at once.
        share_prefixes: Whether common prefixes are computed once.
        capture: Records decoding steps as graphs; ``None``: no graphs.
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
        super().__init__(model, recorder, max_batch_tokens, share_prefixes=share_prefixes)
        self._held = key_value_tokens(max_batch_tokens, model)
        self._max_rows = max_rows
        self._store = KVCache(0, 0)
        self._active: list[Row] = []
        self._graphs = None if capture is None else DecodeGraphs(model, recorder, capture)
        self._stretch = 0
        self._later: list[Row] = []

    def run(
        self,
        requests: Sequence[GenerationRequest],
        labels: Sequence[RoutingLabel] | None,
        on_batch: GenerationCallback | None,
    ) -> list[Generation]:
        """Continue all prompts; see :meth:`medbench.models.engines.engine.Engine.generate`."""
        results: list[Generation | None] = [None] * len(requests)
        self._later = [Row(index, request, counted=request.counted) for index, request in enumerate(requests)]
        queue = deque[Row]()
        with self._model.session(self._recorder):
            while queue or self._active or self._later:
                if not queue and not self._active:
                    queue = self._next_stretch()
                admitted = self._admit(queue)
                finished = self._attempt(partial(self._step, admitted))
                if finished is None:
                    self._handle_oom(admitted, queue)
                    continue
                self._count({row: UNLABELED if labels is None else labels[row.index] for row, _ in finished})
                answers = {row.index: generation for row, generation in finished}
                for index, generation in answers.items():
                    results[index] = generation
                if answers and on_batch is not None:
                    on_batch(list(answers), list(answers.values()))
        return self._answers(results, labels)

    def _count(self, rows: Mapping[Hashable, RoutingLabel]) -> None:
        """Count finished rows; they cannot start over, so running out of memory is tried once more."""

        def release() -> bool:
            self._recorder.release(rows)
            return True

        if not self._attempt(release):
            release()

    def _next_stretch(self) -> deque[Row]:
        """The waiting rows of the shortest stretch of lengths that has any."""
        stretch_of = self._model.rope.stretch
        self._stretch = min(stretch_of(row.size) for row in self._later)
        now = [row for row in self._later if stretch_of(row.size) == self._stretch]
        self._later = [row for row in self._later if stretch_of(row.size) != self._stretch]
        self._store = KVCache(0, 0)
        return self._queue(now)

    def _queue(self, rows: list[Row]) -> deque[Row]:
        """Rows in the order of admission: long limits first, to avoid a long tail of small batches."""
        groups: dict[Prefix, int] = {}
        group_of: dict[int, int] = {}
        if self._share:
            for row, prefix in zip(rows, share_prefixes([row.request.prompt for row in rows]), strict=True):
                if prefix is None:
                    continue
                group_of[row.index] = groups.setdefault(prefix, len(groups))
                # A row counts its prefix as a whole or not at all.
                if row.counted == 0 or row.counted >= prefix.length:
                    row.prefix = prefix
                else:
                    prefix.waiting -= 1
        rows.sort(key=lambda row: (-row.request.max_new_tokens, group_of.get(row.index, -1), -row.to_feed))
        return deque(rows)

    def _admit(self, queue: deque[Row]) -> list[Row]:
        """Take as many waiting rows as the budgets allow; at least one if no row is active."""
        admitted: list[Row] = []
        tokens = len(self._active)
        widest = max((row.reserved for row in self._active), default=0)
        while queue and len(self._active) + len(admitted) < self._max_rows:
            row = queue[0]
            prefix = row.prefix if row.prefix and row.prefix.store is None else None
            tokens += row.to_feed + (prefix.length if prefix else 0)
            widest = max(widest, row.reserved)
            held = widest * (len(self._active) + len(admitted) + 1)
            some = bool(self._active or admitted)
            if some and tokens > self._budget:
                return admitted
            if some and held > self._held:
                break
            admitted.append(queue.popleft())
        if self._graphs is not None and queue and len(admitted) < len(self._active) // _GROUP:
            # A step that admits rows runs without a graph: it has to be worth it.
            queue.extendleft(reversed(admitted))
            return []
        return admitted

    def _handle_oom(self, admitted: Sequence[Row], queue: deque[Row]) -> None:
        """Halve the budget: new rows wait, or half of the active rows start over; a lone row has failed."""
        if self._graphs is not None:
            self._graphs.clear()
            release_memory(self._model.device)
        for row in (*self._active, *admitted):
            row.rewind()
        if not admitted and len(self._active) > 1:
            kept = len(self._active) // 2
            evicted, self._active = self._active[kept:], self._active[:kept]
            self._held = max(1, sum(row.reserved for row in self._active))
            self._max_rows = kept
            queue.extendleft(reversed(evicted))
            self._store = self._shrunk(kept)
        elif len(admitted) > 1 or (admitted and self._active):
            self._halve_budget(sum(row.to_feed for row in admitted))
            if len(admitted) == 1:
                # It did not fit beside the active rows; it is tried again when fewer are left.
                self._max_rows = max(1, len(self._active))
            queue.extendleft(reversed(admitted))
        else:
            (row,) = admitted or self._active
            self._failed.append(FailedRequest.too_large(row.index, row.length or row.to_feed))
            self._recorder.discard([row])
            self._release_prefixes(admitted)
            self._active = []
            self._store = KVCache(0, 0)

    def _shrunk(self, rows: int) -> KVCache:
        store = KVCache(rows, max(row.length for row in self._active[:rows]) + 1)
        store.take(self._store, rows)
        return store

    def _step(self, admitted: Sequence[Row]) -> list[tuple[Row, Generation]]:
        """One forward: the next token of each active row, and the first of those admitted."""
        self._prefixes.fill([row.prefix for row in admitted], self._stretch, self._budget)
        admitted = sorted(admitted, key=lambda row: row.size)  # adjacent rows attend together
        rows = [*self._active, *admitted]
        self._store.reserve(
            len(rows),
            max(row.size for row in rows),
            most_rows=self._max_rows,
            most_capacity=max(row.reserved for row in rows),
        )
        ids = [row.new[-1] for row in self._active]
        lengths = [row.length for row in self._active]
        spans = [
            span
            for place, row in enumerate(self._active)
            for span in row.credit_spans(row.length, row.length + 1, place)
        ]
        states = None
        if self._graphs is not None and not admitted:
            states = self._graphs.run(self._store, ids, lengths, spans, self._stretch)
        if states is None:
            states = self._states(ids, lengths, spans, admitted)
        for row in rows:
            row.counted = row.size  # before anything else can fail: no token counts twice
        chosen = self._choose(states, rows)
        self._release_prefixes(admitted)
        self._active = rows
        for row in rows:
            row.length = row.size
        return self._append(rows, chosen)

    def _states(
        self, ids: list[int], positions: list[int], spans: list[CreditSpan], admitted: Sequence[Row]
    ) -> Tensor:
        """Final hidden states: active rows first, then newly admitted rows.

        Args:
            ids: The last token of each active row.
            positions: Their positions.
            spans: Whom they are credited to.
            admitted: The new rows.

        Returns:
            [rows, hidden].
        """
        device = self._model.device
        segments: list[Segment] = []
        active = len(self._active)
        block = self._decode_block(positions) if active else None
        ends = list(range(active))
        for slot, row in enumerate(admitted, start=active):
            past = row.prefix.length if row.prefix else 0
            start = len(ids)
            ids += row.tokens[past:]
            positions += range(past, past + len(ids) - start)
            ends.append(len(ids) - 1)
            spans += row.credit_spans(past, row.size, start)
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
        hidden = self._forward(ids, positions, Pack(segments, block, self._stretch), spans)
        return hidden[torch.tensor(ends, device=device)]

    def _decode_block(self, lengths: Sequence[int]) -> DecodeBlock:
        device = self._model.device
        held = torch.tensor(lengths, device=device)
        return DecodeBlock.of(self._store, held, decode_spans(lengths, device), dtype=self._model.dtype)

    def _release_prefixes(self, rows: Sequence[Row]) -> None:
        """These rows hold their prefixes in the cache now."""
        self._prefixes.release([row.prefix for row in rows])
        for row in rows:
            row.prefix = None

    def _choose(self, hidden: Tensor, rows: Sequence[Row]) -> list[int | None]:
        """The next token of each row; ``None`` where the logits are not finite."""
        chosen: list[int | None] = [None] * len(rows)
        # Without processors, logits are needed for the allowed tokens only.
        few = [row.request.allowed is not None and row.request.processors is None for row in rows]
        whole = [place for place in range(len(rows)) if not few[place]]
        for start in range(0, len(whole), self._model.head_rows):
            part = whole[start : start + self._model.head_rows]
            taken = hidden if len(part) == len(rows) else hidden[torch.tensor(part, device=hidden.device)]
            logits = self._model.logits(taken)
            top, best = logits.max(dim=1)
            finite = torch.isfinite(top).tolist()
            for number, (place, token) in enumerate(zip(part, best.tolist(), strict=True)):
                if finite[number]:
                    chosen[place] = rows[place].choose(logits[number], token)
        for place, row in enumerate(rows):
            if few[place] and row.request.allowed is not None:
                only = torch.tensor(row.request.allowed, device=hidden.device)
                chosen[place] = row.choose_among(self._model.logits(hidden[place : place + 1], only)[0])
        return chosen

    def _append(self, rows: Sequence[Row], chosen: Sequence[int | None]) -> list[tuple[Row, Generation]]:
        """Append the chosen tokens; return the rows that finished, which leave the batch."""
        finished: list[tuple[Row, Generation]] = []
        ended: list[int] = []
        for place, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if token is None:
                self._failed.append(FailedRequest.not_finite(row.index))
                self._recorder.discard([row])
                ended.append(place)
                continue
            row.new.append(token)
            reason = row.ends_with(token)
            if reason is not None:
                finished.append((row, Generation(row.new, reason)))
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
        return finished
