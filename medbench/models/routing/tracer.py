"""Keeps the router choices of every token, in the order of the text, until its request is answered."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medbench.models.routing.counts import PHASES, CreditSpan, RoutingLabel
from medbench.models.routing.traces import Traces

Bytes = NDArray[np.uint8]


class _Part(NamedTuple):
    """Consecutive tokens: their ids, and choices and gate weights as [n, M, k]."""

    ids: NDArray[np.int32]
    choice: Bytes
    gate: Bytes


class _Piece(NamedTuple):
    """Parts that follow each other; the first begins at position ``start`` of its text."""

    start: int
    parts: list[_Part]


class Tracer:
    """Choices by owner, and by label once released, like the recorder's sums.

    Args:
        routers: (layer, projection) of the M routers.
        num_experts: E, 256 at most.
    """

    def __init__(self, routers: Sequence[tuple[int, str]], num_experts: int) -> None:
        self._routers = tuple(routers)
        self._experts = num_experts
        self._held: dict[tuple[Hashable, int], list[_Piece]] = {}
        self._done: list[tuple[RoutingLabel, int, _Piece]] = []

    def keep(
        self,
        choice: Tensor,
        weights: Tensor,
        spans: Iterable[CreditSpan],
        ids: Sequence[int],
        positions: Sequence[int],
    ) -> None:
        """Keep the choices of a forward.

        Args:
            choice: [M, N, k].
            weights: [M, N, k].
            spans: Whom the tokens are credited to.
            ids: The N tokens.
            positions: Their positions in their texts.
        """
        chosen = choice.to(torch.uint8).transpose(0, 1).cpu().numpy()
        gates = (weights.float() * 255).round().to(torch.uint8).transpose(0, 1).cpu().numpy()
        for span in spans:
            pieces = self._held.setdefault((span.owner, span.phase), [])
            own = slice(span.start, span.stop)
            # Copies, since a view would keep the whole forward in memory until its slowest row ends.
            part = _Part(np.array(ids[own], np.int32), chosen[own].copy(), gates[own].copy())
            if span.grows and pieces:
                pieces[-1].parts.append(part)
                continue
            first, before = positions[span.start], list[_Part]()
            if span.prefix is not None:
                ((first, before),) = self._held[span.prefix, 0]
            pieces += [_Piece(first, [*before, part]) for _ in range(span.times)]

    def release(self, owners: Mapping[Hashable, RoutingLabel]) -> None:
        """Move the choices of these owners to their labels, and forget the owners."""
        for owner, label in owners.items():
            for phase in range(len(PHASES)):
                for piece in self._held.pop((owner, phase), ()):
                    self._done.append((label, phase, piece))

    def discard(self, owners: Iterable[Hashable]) -> None:
        """Forget these owners and their choices."""
        for owner in owners:
            for phase in range(len(PHASES)):
                self._held.pop((owner, phase), None)

    def clear(self) -> None:
        """Forget all owners that were not released."""
        self._held = {}

    def drain(self) -> Traces | None:
        """Return the choices released since the last call; ``None`` if there are none."""
        done, self._done = self._done, []
        if not done:
            return None
        parts = [part for _, _, piece in done for part in piece.parts]
        lengths = [sum(len(part.ids) for part in piece.parts) for _, _, piece in done]
        return Traces(
            model="",
            routers=self._routers,
            num_experts=self._experts,
            documents=tuple(label for label, _, _ in done),
            phases=np.array([phase for _, phase, _ in done], np.uint8),
            starts=np.array([piece.start for _, _, piece in done], np.int32),
            offsets=np.cumsum([0, *lengths], dtype=np.int64),
            tokens=np.concatenate([part.ids for part in parts]),
            choice=np.concatenate([part.choice for part in parts]).swapaxes(0, 1),
            gate=np.concatenate([part.gate for part in parts]).swapaxes(0, 1),
        )
