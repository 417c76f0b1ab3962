"""Where the routers of a model put what they choose, for the tokens of one or several forwards.

A step of decoding is short: copying the outputs of every router by itself would take a few percent of it.
They are set aside and copied together when the forward ends. Where there are many tokens they are copied at
once, because what is set aside keeps the whole product alive that it is a part of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor

from medbench.models.routing.routers import Observer, Router, RouterOutputs

__all__ = ["RouterBuffer", "RouterOutputs"]

_FEW = 256  # tokens of a forward whose outputs are copied when it ends


class RouterBuffer:
    """Observes routers; it grows as needed and lies on the device of the first of them.

    Args:
        routers: The M routers, in the order in which their outputs are to stand.
    """

    def __init__(self, routers: Sequence[Router]) -> None:
        self._places = {router: place for place, router in enumerate(routers)}
        self._together = len({router.device for router in routers}) == 1
        self.outputs: RouterOutputs | None = None

    @contextmanager
    def filled(self, start: int, stop: int) -> Iterator[None]:
        """Have forwards of ``stop - start`` tokens put their choices at ``start``."""
        aside: dict[Router, RouterOutputs] = {}
        few = self._together and stop - start <= _FEW

        def keep(router: Router, outputs: RouterOutputs) -> None:
            self._keep(start, stop, router, outputs)

        observer: Observer = aside.__setitem__ if few else keep
        with ExitStack() as stack:
            for router in self._places:
                stack.enter_context(router.observed(observer))
            yield
        if aside:
            self.append(start, RouterOutputs.stacked([aside[router] for router in self._places]))

    def append(self, start: int, outputs: RouterOutputs) -> None:
        """Copy outputs to ``start``; what stands behind is lost."""
        stop = start + outputs.logits.shape[1]
        for held, new in _pairs(self._room(start, stop, outputs), outputs):
            held[:, start:stop] = new

    def _keep(self, start: int, stop: int, router: Router, outputs: RouterOutputs) -> None:
        place = self._places[router]
        for held, new in _pairs(self._room(start, stop, outputs), outputs):
            held[place, start:stop] = new

    def _room(self, start: int, stop: int, like: RouterOutputs) -> RouterOutputs:
        """A buffer of ``stop`` tokens at least, with what stands before ``start``."""
        held = self.outputs
        if held is None or held.logits.shape[1] < stop:
            shape = (len(self._places), stop)
            grown = like.mapped(lambda part: part.new_empty(*shape, part.shape[-1]))
            if held is not None:
                for new, old in _pairs(grown, held.first(start)):
                    new[:, :start] = old
            self.outputs = held = grown
        return held


def _pairs(held: RouterOutputs, new: RouterOutputs) -> Iterator[tuple[Tensor, Tensor]]:
    """The tensors of two, side by side."""
    for mine, other in zip(held, new, strict=True):
        if mine is not None and other is not None:
            yield mine, other
