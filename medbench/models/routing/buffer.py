"""A buffer for the outputs of a model's routers, for the tokens of one or several forwards.

A decoding step is short: copying the outputs of each router by itself would take a few percent of it. They
are kept and copied together when the forward ends. With many tokens they are copied at once, because an
output that is kept keeps the whole tensor alive that it is a view of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor

from medbench.errors import ModelError
from medbench.models.routing.routers import Observer, Router, RouterOutputs

_FEW = 256  # tokens of a forward whose outputs are copied when it ends


class RouterBuffer:
    """Observes routers; it grows as needed and lies on the device of the first of them.

    Args:
        routers: The M routers, in the order in which their outputs are to stand.
    """

    def __init__(self, routers: Sequence[Router]) -> None:
        self._places = {router: place for place, router in enumerate(routers)}
        self._together = len({router.device for router in routers}) == 1
        self._observing = False
        self._observer: Observer | None = None  # of the forward at hand
        self.outputs: RouterOutputs | None = None

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Observe the routers until the block ends; within another such block it changes nothing.

        What they put out is kept only within :meth:`filled`.
        """
        if self._observing:
            yield
            return
        with ExitStack() as stack:
            for router in self._places:
                stack.enter_context(router.observed(self._receive))
            self._observing = True
            stack.callback(setattr, self, "_observing", False)
            yield

    @contextmanager
    def filled(self, start: int, stop: int) -> Iterator[None]:
        """Put the outputs of a forward of ``stop - start`` tokens at ``start``.

        Raises:
            ModelError: A router put out nothing, or not one row per token: nothing of it can be counted.
        """
        aside: dict[Router, RouterOutputs] = {}
        seen: set[Router] = set()
        few = self._together and stop - start <= _FEW

        def receive(router: Router, outputs: RouterOutputs) -> None:
            if len(outputs.logits) != stop - start:
                raise _unfit(router, f"put out {len(outputs.logits)} rows for {stop - start} tokens")
            seen.add(router)
            if few:
                aside[router] = outputs
            else:
                self._keep(start, stop, router, outputs)

        with self.observing():
            self._observer = receive
            try:
                yield
            finally:
                self._observer = None
        for router in self._places:
            if router not in seen:
                raise _unfit(router, "put out nothing")
        if aside:
            self.append(start, RouterOutputs.stacked([aside[router] for router in self._places]))

    def _receive(self, router: Router, outputs: RouterOutputs) -> None:
        if self._observer is not None:
            self._observer(router, outputs)

    def captured(self, forward: Callable[[], Tensor], tokens: int) -> tuple[Tensor, RouterOutputs | None]:
        """Run a forward of so many tokens; return its result, and its routers' outputs outside the buffer."""
        earlier, self.outputs = self.outputs, None
        try:
            with self.filled(0, tokens):
                result = forward()
            return result, self.outputs
        finally:
            self.outputs = earlier

    def append(self, start: int, outputs: RouterOutputs) -> None:
        """Copy outputs to ``start``; those behind are overwritten."""
        stop = start + outputs.logits.shape[1]
        for held, new in _pairs(self._room(start, stop, outputs), outputs):
            held[:, start:stop] = new

    def _keep(self, start: int, stop: int, router: Router, outputs: RouterOutputs) -> None:
        place = self._places[router]
        for held, new in _pairs(self._room(start, stop, outputs), outputs):
            held[place, start:stop] = new

    def _room(self, start: int, stop: int, like: RouterOutputs) -> RouterOutputs:
        """A buffer of at least ``stop`` tokens that keeps those before ``start``."""
        held = self.outputs
        if held is None or held.logits.shape[1] < stop:
            shape = (len(self._places), stop)
            grown = like.mapped(lambda part: part.new_empty(*shape, part.shape[-1]))
            if held is not None:
                for new, old in _pairs(grown, held.first(start)):
                    new[:, :start] = old
            self.outputs = held = grown
        return held


def _unfit(router: Router, what: str) -> ModelError:
    return ModelError(
        f"a router {what}",
        where=f"layer {router.layer}, {router.projection}",
        hint="--routing off answers without recording routers",
    )


def _pairs(held: RouterOutputs, new: RouterOutputs) -> Iterator[tuple[Tensor, Tensor]]:
    """The corresponding tensors of two outputs."""
    for mine, other in zip(held, new, strict=True):
        if mine is not None and other is not None:
            yield mine, other
