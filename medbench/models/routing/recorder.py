"""The router recorder: observes the routers of a model and sums up what they choose, on the device.

The observers copy the routers' outputs into a buffer while a forward runs. When it ends, one product of a
[groups, tokens] matrix of weights with the tokens' features adds them to the groups' sums: no host
synchronisation, no growth with the tokens seen. Decoding runs many small forwards; a few of them wait for
each other, so that the product is not made for a handful of tokens. A forward that fails leaves no trace.

Who owns a token is the engine's to say (docs/routing.md has the rules). Sums stay apart by *owner*, whatever
hashable thing the engine uses, until :meth:`Recorder.release` moves them to a label: what a crash leaves
unanswered is never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medbench.common.choices import ROUTING_LEVELS as LEVELS
from medbench.errors import ModelError
from medbench.models.routing.buffer import RouterBuffer
from medbench.models.routing.counts import PHASES, RoutingCounts, RoutingLabel
from medbench.models.routing.router_finding import routers_of
from medbench.models.routing.routers import Router, RouterOutputs
from medbench.models.routing.tracer import Owned, Tracer
from medbench.models.routing.traces import Traces

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LEVELS", "Owned", "Recorder", "RoutingCounts"]

# Elements of the [modules, tokens, experts, experts] products formed at once.
_CHUNK_ELEMENTS = 2**22
_FIRST_ROWS = 16
# Forwards are summed up together until they have this many tokens.
_WAITING_TOKENS = 256


class Recorder:
    """Sums of router choices by owner, and then by label.

    Args:
        model: The model whose routers are observed; one without, or with some that cannot be read, records
            nothing.
        level: ``tasks`` adds up a task's documents, ``documents`` keeps them apart, ``tokens`` keeps the
            choices of single tokens besides, ``off`` records nothing.
        near_tie: Logit margin between ranks k and k + 1 below which a choice counts as nearly tied.

    Raises:
        ModelError: The level is unknown, or the model's routers differ in shape.
    """

    def __init__(self, model: nn.Module, level: str = "tasks", near_tie: float = 1e-4) -> None:
        if level not in LEVELS:
            raise ModelError(f"unknown routing level {level!r}", hint=f"one of {', '.join(LEVELS)}")
        self.level = level
        self.near_tie = near_tie
        self._routers: list[Router] = routers_of(model) if level != "off" else []
        self._done = RoutingCounts()
        self._buffer = RouterBuffer(self._routers)
        self._waiting: list[Owned] = []
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
        """The label under which a document's tokens are counted at this level."""
        return (label[0], -1) if self.level == "tasks" else label

    def observe(
        self,
        forward: Callable[[], Tensor],
        owned: Iterable[Owned],
        ids: Sequence[int],
        positions: Sequence[int],
    ) -> Tensor:
        """Run a forward and count its tokens.

        Args:
            forward: Runs the model on N tokens.
            owned: Which of them count for whom.
            ids: The N tokens.
            positions: Their places in their texts.

        Returns:
            What ``forward`` returns. If it raises, nothing is counted.
        """
        if not self._routers:
            return forward()
        start = len(self._ids)
        with self._buffer.filled(start, start + len(ids)):
            result = forward()
        self._wait(owned, ids, positions)
        return result

    def apart(self, forward: Callable[[], Tensor], tokens: int) -> tuple[Tensor, RouterOutputs | None]:
        """Run a forward of so many tokens that counts for nobody; return what its routers put out as well."""
        buffer = RouterBuffer(self._routers)
        with buffer.filled(0, tokens):
            result = forward()
        return result, buffer.outputs

    def add(
        self,
        outputs: RouterOutputs | None,
        owned: Iterable[Owned],
        ids: Sequence[int],
        positions: Sequence[int],
    ) -> None:
        """Count tokens by what routers put out, as :meth:`observe` does; what comes behind them is left."""
        if outputs is not None:
            self._buffer.append(len(self._ids), outputs.first(len(ids)))
            self._wait(owned, ids, positions)

    def share(self, source: Hashable, owners: Mapping[Hashable, int]) -> None:
        """Add the sums of one owner to others', so many times each (a prefix computed once)."""
        if not self._routers:
            return
        self._count()
        origin = self._rows.get((source, 0))
        if origin is None:
            return
        rows = [self._row((owner, 0)) for owner in owners]
        assert self._sums is not None
        times = torch.tensor(list(owners.values()), dtype=self._sums.dtype, device=self._sums.device)
        unit = self._sums[origin]
        self._sums.index_add_(0, _index(rows, self._sums), times[:, None, None] * unit[None])

    def release(self, owners: Mapping[Hashable, RoutingLabel]) -> None:
        """Count what these owners have gathered under their labels; the owners are forgotten."""
        if not owners:
            return  # what waits goes on waiting
        self._count()
        if self._tracer:
            self._tracer.release({owner: self.label(label) for owner, label in owners.items()})
        held = [(key, label) for key, label in self._held(owners)]
        if not held or self._sums is None:
            return
        rows = [self._rows.pop(key) for key, _ in held]
        sums = self._sums[_index(rows, self._sums)].cpu().numpy()
        self._clear(rows)
        groups = dict.fromkeys((self.label(label), PHASES[phase]) for (_, phase), label in held)
        places = {group: place for place, group in enumerate(groups)}
        total = np.zeros((len(groups), *sums.shape[1:]))
        np.add.at(total, [places[self.label(label), PHASES[phase]] for (_, phase), label in held], sums)
        self._done = self._done + self._counts(tuple(groups), total)

    def clear(self) -> None:
        """Forget what owners have gathered and was not released."""
        self._take_waiting()
        self._rows = {}
        self._free = []
        self._sums = None
        if self._tracer:
            self._tracer.clear()

    def discard(self, owners: Iterable[Hashable]) -> None:
        """Forget what these owners have gathered."""
        self._count()
        forgotten: dict[Hashable, RoutingLabel] = dict.fromkeys(owners, ("", -1))
        if self._tracer:
            self._tracer.discard(forgotten)
        rows = [self._rows.pop(key) for key, _ in self._held(forgotten)]
        if rows:
            self._clear(rows)

    def drain(self) -> RoutingCounts:
        """Return the counts released since the last call, and start anew."""
        done, self._done = self._done, RoutingCounts()
        return done

    def drain_traces(self) -> Traces | None:
        """Return the choices of the tokens released since the last call, if any were kept."""
        return self._tracer.drain() if self._tracer else None

    def _held(
        self, owners: Mapping[Hashable, RoutingLabel]
    ) -> Iterable[tuple[tuple[Hashable, int], RoutingLabel]]:
        return [
            ((owner, phase), label)
            for owner, label in owners.items()
            for phase in range(len(PHASES))
            if (owner, phase) in self._rows
        ]

    def _clear(self, rows: Sequence[int]) -> None:
        assert self._sums is not None
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

    def _wait(self, owned: Iterable[Owned], ids: Sequence[int], positions: Sequence[int]) -> None:
        """Let tokens whose router outputs are in the buffer wait to be counted."""
        start = len(self._ids)
        self._waiting += [
            part._replace(start=part.start + start, stop=part.stop + start)
            for part in owned
            if part.stop > part.start
        ]
        self._ids += ids
        self._positions += positions
        if len(self._ids) >= _WAITING_TOKENS:
            self._count()

    def _take_waiting(self) -> tuple[list[Owned], list[int], list[int]]:
        """What waits, as of one forward; it waits no longer."""
        waiting = self._waiting, self._ids, self._positions
        self._waiting, self._ids, self._positions = [], [], []
        return waiting

    def _count(self) -> None:
        """Add what waits to the sums of its owners."""
        owned, ids, positions = self._take_waiting()
        if not owned or self._buffer.outputs is None:
            return
        tokens = len(ids)
        outputs = self._buffer.outputs.first(tokens)
        if self._tracer:
            self._tracer.keep(outputs.choice, outputs.weights, owned, ids, positions)
        modules, _, experts = outputs.logits.shape
        if self._sums is None:
            width = experts * experts + 3 * experts + 3
            self._sums = torch.zeros(0, modules, width, dtype=torch.float64, device=outputs.logits.device)
        keys = list(dict.fromkeys((part.owner, part.phase) for part in owned))
        places = {key: place for place, key in enumerate(keys)}
        shares = torch.zeros(len(keys), tokens)
        for part in owned:
            shares[places[part.owner, part.phase], part.start : part.stop] += part.times
        shares = shares.to(outputs.logits.device, non_blocking=True)
        rows = [self._row(key) for key in keys]
        index = _index(rows, self._sums)
        # Many experts make the products of a token large: then tokens go in parts as well.
        most = max(1, _CHUNK_ELEMENTS // experts**2)
        step = max(1, most // tokens)
        for first in range(0, tokens, most):
            stop = min(first + most, tokens)
            parts = [
                torch.matmul(
                    shares[:, first:stop],
                    _features(outputs.cut((start, start + step), (first, stop)), self.near_tie),
                )
                for start in range(0, modules, step)
            ]
            self._sums.index_add_(0, index, torch.cat(parts).transpose(0, 1).to(self._sums.dtype))

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
    """What is summed of each token.

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


def _index(rows: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=torch.long, device=like.device)
