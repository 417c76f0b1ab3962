"""Where the routers of a model put what they choose, for the tokens of one or several forwards.

A step of decoding is short: copying the outputs of every router by itself would take a few percent of it.
They are set aside and copied together when the forward ends. Where there are many tokens they are copied at
once, because what is set aside keeps the whole product alive that it is a part of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from medbench.models.molora import MoLoRALinear

__all__ = ["RouterBuffer", "RouterOutputs"]

_FEW = 256  # tokens of a forward whose outputs are copied when it ends


class RouterOutputs(NamedTuple):
    """What routers put out, for M routers and N tokens.

    Attributes:
        logits: [M, N, E].
        choice: [M, N, k].
        weights: [M, N, k].
    """

    logits: Tensor
    choice: Tensor
    weights: Tensor

    def first(self, tokens: int) -> RouterOutputs:
        """Those of the first tokens (views)."""
        return RouterOutputs(*(part[:, :tokens] for part in self))


class RouterBuffer:
    """Observes routers; it grows as needed and lies on the device of the first of them.

    Args:
        modules: The M mixtures, in the order in which their outputs are to stand.
    """

    def __init__(self, modules: Sequence[MoLoRALinear]) -> None:
        self._places = {module: place for place, module in enumerate(modules)}
        self._together = len({module.molora_b.device for module in modules}) == 1
        self.outputs: RouterOutputs | None = None

    @contextmanager
    def filled(self, start: int, stop: int) -> Iterator[None]:
        """Have forwards of ``stop - start`` tokens put their choices at ``start``."""
        aside: dict[MoLoRALinear, RouterOutputs] = {}
        few = self._together and stop - start <= _FEW
        observer = partial(_set_aside, aside) if few else partial(self._keep, start, stop)
        for module in self._places:
            module.observer = observer
        try:
            yield
        finally:
            for module in self._places:
                module.observer = None
        if aside:
            rows = zip(*(aside[module] for module in self._places), strict=True)
            self.append(start, RouterOutputs(*map(torch.stack, rows)))

    def append(self, start: int, outputs: RouterOutputs) -> None:
        """Copy outputs to ``start``; what stands behind is lost."""
        stop = start + outputs.logits.shape[1]
        for held, new in zip(self._room(start, stop, outputs), outputs, strict=True):
            held[:, start:stop] = new

    def _keep(
        self, start: int, stop: int, module: MoLoRALinear, logits: Tensor, choice: Tensor, weights: Tensor
    ) -> None:
        held = self._room(start, stop, RouterOutputs(logits, choice, weights))
        place = self._places[module]
        held.logits[place, start:stop] = logits
        held.choice[place, start:stop] = choice
        held.weights[place, start:stop] = weights

    def _room(self, start: int, stop: int, like: RouterOutputs) -> RouterOutputs:
        """A buffer of ``stop`` tokens at least, with what stands before ``start``."""
        held = self.outputs
        if held is None or held.logits.shape[1] < stop:
            shape = (len(self._places), stop)
            grown = RouterOutputs(*(part.new_empty(*shape, part.shape[-1]) for part in like))
            if held is not None:
                for new, old in zip(grown, held.first(start), strict=True):
                    new[:, :start] = old
            self.outputs = held = grown
        return held


def _set_aside(
    aside: dict[MoLoRALinear, RouterOutputs],
    module: MoLoRALinear,
    logits: Tensor,
    choice: Tensor,
    weights: Tensor,
) -> None:
    aside[module] = RouterOutputs(logits, choice, weights)
