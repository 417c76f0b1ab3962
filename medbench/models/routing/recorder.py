"""The router recorder: observes the routers of a model and sums up their choices on the device.

Observers copy the routers' outputs into a buffer during a forward. Afterwards, one product of an
[owners, tokens] matrix with the tokens' features adds them to the owners' sums: no synchronization with the
host, and no growth with the number of tokens. Small forwards (decoding steps) are queued and counted
together. A forward that fails leaves no trace.

A pass records within one session::

    with recorder.session():
        hidden = recorder.observe(forward, spans, ids, positions)  # credit tokens to owners
        recorder.release({owner: label})                           # answered: count under the label
        recorder.discard([owner])                                  # failed: forget
    recorder.drain()                                               # the counts by label

The engine decides which owner a token is credited to (docs/routing.md has the rules). An *owner* is any
hashable key. Its sums become part of the counts only with :meth:`Recorder.release`, so that requests left
unanswered by a crash are never counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medbench.common.choices import ROUTING_LEVELS
from medbench.errors import ModelError
from medbench.models.routing.buffer import RouterBuffer
from medbench.models.routing.counts import PHASES, UNLABELED, CreditSpan, RoutingCounts, RoutingLabel
from medbench.models.routing.router_finding import routers_of
from medbench.models.routing.routers import Router, RouterOutputs
from medbench.models.routing.tracer import Tracer
from medbench.models.routing.traces import Traces

if TYPE_CHECKING:
    from torch import nn


# Elements of the [modules, tokens, experts, experts] products formed at once.
_CHUNK_ELEMENTS = 2**22
_FIRST_ROWS = 16
# Forwards are queued and counted together once they have this many tokens.
_QUEUED_TOKENS = 256


class Recorder:
    """Sums of router choices by owner, and then by label.

    Args:
        model: The model whose routers are observed; one without, or with some that cannot be read, records
            nothing.
        level: ``tasks``: sums per task; ``documents``: sums per document; ``tokens``: also the choices of
            every token; ``off``: nothing.
        near_tie: Logit margin between ranks k and k + 1 below which a choice counts as nearly tied.

    Raises:
        ModelError: The level is unknown, or the model's routers differ in shape.
    """

    def __init__(self, model: nn.Module, level: str = "tasks", near_tie: float = 1e-4) -> None:
        if level not in ROUTING_LEVELS:
            raise ModelError(f"unknown routing level {level!r}", hint=f"one of {', '.join(ROUTING_LEVELS)}")
        self.level = level
        self.near_tie = near_tie
        self._routers: list[Router] = routers_of(model) if level != "off" else []
        self._done = RoutingCounts()
        self._buffer = RouterBuffer(self._routers)
        self._in_session = False
        # Tokens whose router outputs are in the buffer but not yet in the sums.
        self._spans: list[CreditSpan] = []
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._rows: dict[tuple[Hashable, int], int] = {}
        self._free: list[int] = []
        self._sums: Tensor | None = None
        self._shapes = {(router.num_experts, router.top_k) for router in self._routers}
        if len(self._shapes) > 1:
            raise ModelError("routers of different shapes in one model cannot be recorded")
        self._layers = tuple(dict.fromkeys(router.layer for router in self._routers))
        self._projections = tuple(dict.fromkeys(router.projection for router in self._routers))
        if len(self._layers) * len(self._projections) != len(self._routers):
            raise ModelError("not every layer has the same routed projections; they cannot be recorded")
        self._tracer: Tracer | None = None
        if level == "tokens" and self._routers:
            ((experts, _),) = self._shapes
            if experts > 256:
                raise ModelError("single tokens are recorded of routers with 256 experts at most")
            self._tracer = Tracer([(router.layer, router.projection) for router in self._routers], experts)

    @property
    def active(self) -> bool:
        """Whether there is anything to record."""
        return bool(self._routers)

    def label(self, label: RoutingLabel) -> RoutingLabel:
        """The label that a document's tokens are counted under at this level."""
        return (label[0], -1) if self.level == "tasks" else label

    def credited(
        self, indices: Iterable[int], labels: Sequence[RoutingLabel] | None
    ) -> Counter[RoutingLabel]:
        """The labels that the tokens of some requests are credited to, and how often.

        Args:
            indices: The requests; those of one document count once.
            labels: The document of each request.
        """
        if labels is None:
            return Counter({UNLABELED: 1})
        documents = dict.fromkeys(labels[index] for index in indices)
        return Counter(self.label(document) for document in documents)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Observe the routers until the block ends; then forget all owners that were not released.

        Within another session it changes nothing.
        """
        if self._in_session:
            yield
            return
        self._in_session = True
        try:
            with self._buffer.observing():
                yield
        finally:
            self._in_session = False
            self._clear_queue()
            self._rows = {}
            self._free = []
            self._sums = None
            if self._tracer:
                self._tracer.clear()

    def observe(
        self,
        forward: Callable[[], Tensor],
        spans: Iterable[CreditSpan],
        ids: Sequence[int],
        positions: Sequence[int],
    ) -> Tensor:
        """Run a forward and count its tokens.

        Args:
            forward: Runs the model on N tokens.
            spans: Whom the tokens are credited to.
            ids: The N tokens.
            positions: Their positions in their texts.

        Returns:
            The result of ``forward``. If it raises, nothing is counted.
        """
        if not self._routers:
            return forward()
        start = len(self._ids)
        with self._buffer.filled(start, start + len(ids)):
            result = forward()
        self._enqueue(spans, ids, positions)
        return result

    def record_uncounted(
        self, forward: Callable[[], Tensor], tokens: int
    ) -> tuple[Tensor, RouterOutputs | None]:
        """Run a forward of so many tokens without counting it.

        Returns:
            The result of ``forward``, and the outputs of the routers for :meth:`add`.
        """
        return self._buffer.captured(forward, tokens)

    def add(
        self,
        outputs: RouterOutputs | None,
        spans: Iterable[CreditSpan],
        ids: Sequence[int],
        positions: Sequence[int],
    ) -> None:
        """Count tokens from recorded router outputs, as :meth:`observe` does.

        Args:
            outputs: Of as many tokens as there are ids, or more; those behind are padding.
            spans: Whom the tokens are credited to.
            ids: The tokens.
            positions: Their positions in their texts.
        """
        if outputs is not None:
            self._buffer.append(len(self._ids), outputs.first(len(ids)))
            self._enqueue(spans, ids, positions)

    def release(self, owners: Mapping[Hashable, RoutingLabel]) -> None:
        """Count the tokens credited to these owners under their labels, and forget the owners."""
        if not owners:
            return  # the queue may grow further
        self._count()
        labels = {owner: self.label(label) for owner, label in owners.items()}
        keys = self._held(labels)
        if keys and self._sums is not None:
            sums = self._sums[_index([self._rows[key] for key in keys], self._sums)].cpu().numpy()
            groups = [(labels[owner], PHASES[phase]) for owner, phase in keys]
            places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
            total = np.zeros((len(places), *sums.shape[1:]))
            np.add.at(total, [places[group] for group in groups], sums)
            done = self._done + self._counts(tuple(places), total)
            self._drop(keys)
            self._done = done
        if self._tracer:
            self._tracer.release(labels)

    def discard(self, owners: Iterable[Hashable]) -> None:
        """Forget these owners and the tokens credited to them."""
        gone = set(owners)
        if any(span.prefix in gone and span.owner not in gone for span in self._spans):
            self._count()  # others are still to be credited with the prefix
        self._spans = [span for span in self._spans if span.owner not in gone]
        if self._tracer:
            self._tracer.discard(gone)
        self._drop(self._held(gone))

    def drain(self) -> RoutingCounts:
        """Return the counts released since the last call."""
        done, self._done = self._done, RoutingCounts()
        return done

    def drain_traces(self) -> Traces | None:
        """Return the token choices released since the last call, with level ``tokens``."""
        return self._tracer.drain() if self._tracer else None

    def _held(self, owners: Iterable[Hashable]) -> list[tuple[Hashable, int]]:
        """The (owner, phase) pairs of these owners that have sums."""
        keys = [(owner, phase) for owner in owners for phase in range(len(PHASES))]
        return [key for key in keys if key in self._rows]

    def _drop(self, keys: Sequence[tuple[Hashable, int]]) -> None:
        """Free the rows of these pairs."""
        rows = [self._rows.pop(key) for key in keys]
        if rows and self._sums is not None:
            self._sums[_index(rows, self._sums)] = 0
            self._free += rows

    def _row(self, key: tuple[Hashable, int]) -> int:
        row = self._rows.get(key)
        if row is not None:
            return row
        assert self._sums is not None
        if not self._free:
            held = len(self._sums)
            grown = self._sums.new_zeros(max(2 * held, _FIRST_ROWS), *self._sums.shape[1:])
            grown[:held] = self._sums
            self._sums = grown
            self._free = list(range(held, len(grown)))
        row = self._rows[key] = self._free.pop()
        return row

    def _enqueue(self, spans: Iterable[CreditSpan], ids: Sequence[int], positions: Sequence[int]) -> None:
        """Queue tokens whose router outputs are in the buffer."""
        start, before = len(self._ids), len(self._spans)
        self._spans += [span.moved(start) for span in spans if span.stop > span.start]
        self._ids += ids
        self._positions += positions
        if len(self._ids) < _QUEUED_TOKENS:
            return
        try:
            self._count()
        except BaseException:  # this forward leaves no trace; earlier ones stay queued
            del self._spans[before:], self._ids[start:], self._positions[start:]
            raise

    def _clear_queue(self) -> None:
        self._spans, self._ids, self._positions = [], [], []

    def _count(self) -> None:
        """Add the queued tokens to the sums of their owners: all of them, or none if it raises."""
        outputs = self._buffer.outputs
        if not self._spans or outputs is None:
            self._clear_queue()
            return
        outputs = outputs.first(len(self._ids))
        if self._sums is None:
            modules, _, experts = outputs.logits.shape
            width = experts * experts + 3 * experts + 3
            self._sums = torch.zeros(0, modules, width, dtype=torch.float64, device=outputs.logits.device)
        keys = list(dict.fromkeys((span.owner, span.phase) for span in self._spans))
        places = {key: place for place, key in enumerate(keys)}
        total = self._summed(outputs, places)
        self._credit_prefixes(total, places)
        rows = [self._row(key) for key in keys]
        if self._tracer:
            self._tracer.keep(outputs.choice, outputs.weights, self._spans, self._ids, self._positions)
        self._sums.index_add_(0, _index(rows, self._sums), total)
        self._clear_queue()

    def _summed(self, outputs: RouterOutputs, places: Mapping[tuple[Hashable, int], int]) -> Tensor:
        """Sums of the queued tokens' features, [owners and phases, modules, features] in float64."""
        modules, tokens, experts = outputs.logits.shape
        weights = torch.zeros(len(places), tokens)
        for span in self._spans:
            weights[places[span.owner, span.phase], span.start : span.stop] += span.times
        weights = weights.to(outputs.logits.device, non_blocking=True)
        # Many experts make the features of a token large: then tokens are taken in parts as well.
        most = max(1, _CHUNK_ELEMENTS // experts**2)
        step = max(1, most // tokens)
        total: Tensor | None = None
        for first in range(0, tokens, most):
            stop = min(first + most, tokens)
            parts = [
                torch.matmul(
                    weights[:, first:stop],
                    _features(outputs.cut((start, start + step), (first, stop)), self.near_tie),
                )
                for start in range(0, modules, step)
            ]
            summed = torch.cat(parts).transpose(0, 1).to(torch.float64)
            total = summed if total is None else total.add_(summed)
        assert total is not None
        return total

    def _credit_prefixes(self, total: Tensor, places: Mapping[tuple[Hashable, int], int]) -> None:
        """Add the sums of each prefix to the owners that go on from it."""
        assert self._sums is not None
        shares: dict[Hashable, Counter[Hashable]] = {}
        for span in self._spans:
            if span.prefix is not None:
                shares.setdefault(span.prefix, Counter())[span.owner] += span.times
        for prefix, owners in shares.items():
            row, place = self._rows.get((prefix, 0)), places.get((prefix, 0))
            counted = [part for part in (_at(self._sums, row), _at(total, place)) if part is not None]
            times = torch.tensor(list(owners.values()), dtype=total.dtype, device=total.device)
            index = _index([places[owner, 0] for owner in owners], total)
            total.index_add_(0, index, times[:, None, None] * torch.stack(counted).sum(0)[None])

    def _counts(self, labels: tuple[tuple[RoutingLabel, str], ...], sums: np.ndarray) -> RoutingCounts:
        ((experts, top_k),) = self._shapes
        cells = (len(labels), len(self._layers), len(self._projections))
        sums = sums.reshape(*cells, -1)
        ends = np.cumsum([experts * experts, experts, experts, experts, 1, 1, 1])[:-1]
        coactive, mass, top1, prob, entropy, near_ties, tokens = np.split(sums, ends, axis=-1)
        pairs = np.rint(coactive).astype(np.int64).reshape(*cells, experts, experts)
        return RoutingCounts(
            labels=labels,
            layers=self._layers,
            projections=self._projections,
            num_experts=experts,
            top_k=top_k,
            tokens=np.rint(tokens[:, 0, 0, 0]).astype(np.int64),
            count=np.ascontiguousarray(np.diagonal(pairs, axis1=3, axis2=4)),
            mass=mass,
            top1=np.rint(top1).astype(np.int64),
            prob=prob,
            entropy=entropy[..., 0],
            near_ties=np.rint(near_ties[..., 0]).astype(np.int64),
            coactive=pairs,
        )


def _features(outputs: RouterOutputs, near_tie: float) -> Tensor:
    """The features of each token that are summed.

    Args:
        outputs: Of M routers and N tokens.
        near_tie: Margin.

    Returns:
        [M, N, E*E + 3*E + 3]: pairs chosen together, gate weights, the first choice, probabilities, entropy,
        whether it was nearly a tie, and one.
    """
    wide, choice = outputs.logits.float(), outputs.choice
    zeros = torch.zeros_like(wide)
    chosen = zeros.scatter(2, choice, 1.0)
    top1 = zeros.scatter(2, choice[:, :, :1], 1.0)
    mass = zeros.scatter(2, choice, outputs.weights.float())
    logp = torch.log_softmax(wide, dim=2)
    prob = logp.exp()
    entropy = -(prob * logp).sum(2, keepdim=True)
    pairs = (chosen[:, :, :, None] * chosen[:, :, None, :]).flatten(2)
    margin = outputs.margin
    if margin is None:
        worst = wide.gather(2, choice).amin(2, keepdim=True)
        margin = worst - wide.masked_fill(chosen.bool(), float("-inf")).amax(2, keepdim=True)
    tie = (margin < near_tie).float()
    return torch.cat([pairs, mass, top1, prob, entropy, tie, torch.ones_like(tie)], dim=2)


def _at(sums: Tensor, place: int | None) -> Tensor | None:
    return None if place is None else sums[place]


def _index(rows: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=torch.long, device=like.device)
