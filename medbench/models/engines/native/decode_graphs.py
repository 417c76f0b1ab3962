"""Decoding steps as CUDA graphs: the time of a small step is kernel launches, and a graph launches once.

A graph runs one forward of R tokens; token i continues row i of a KV cache, over the first C tokens of every
row. R and C are rounded up to a few sizes; the outputs of padding rows are dropped. Router outputs go to the
graph's own buffer, from which the recorder counts them, so counts do not depend on whether a graph ran. A
graph is recorded when its sizes come up for the second time, compared with the plain forward once, and used
only if the two agree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medbench.models.architecture.memory import is_out_of_memory
from medbench.models.engines.native.forward import PackedModel
from medbench.models.engines.native.packing import DecodeBlock, KVCache, Pack
from medbench.models.routing.counts import CreditSpan
from medbench.models.routing.recorder import Recorder
from medbench.models.routing.routers import RouterOutputs

_LOG = logging.getLogger(__name__)
_REACH = 256  # C is rounded up to a multiple of this many tokens
# Largest difference from the plain forward, relative to the largest state. Padding changes the order of sums;
# in 16 bit that is a few roundings in every layer.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}

# Final hidden states [R, hidden] of a step, and the outputs of its routers.
Step = tuple[Tensor, RouterOutputs | None]
# Runs and records a step; returns its outputs and a function that runs it again on the same tensors.
Capture = Callable[[Callable[[], Step]], tuple[Step, Callable[[], None]]]


@dataclass(frozen=True)
class _Graph:
    """A recorded step.

    Attributes:
        ids: [R] input: last tokens.
        lengths: [R] input: tokens already in the rows.
        outputs: Its outputs.
        replay: Runs it.
    """

    ids: Tensor
    lengths: Tensor
    outputs: Step
    replay: Callable[[], None]

    def run(self, ids: Sequence[int], lengths: Sequence[int]) -> None:
        _fill(self.ids, ids)
        _fill(self.lengths, lengths)
        self.replay()


class DecodeGraphs:
    """The graphs of one generation.

    Args:
        model: The model, on one device.
        recorder: Counts router choices.
        capture: Records a step, such as :class:`CudaCapture`.
    """

    def __init__(self, model: PackedModel, recorder: Recorder, capture: Capture) -> None:
        self._model = model
        self._recorder = recorder
        self._capture: Capture | None = capture
        self._store = KVCache(0, 0)
        self._room = (0, 0)
        self._graphs: dict[tuple[int, int, int], _Graph | None] = {}

    def run(
        self,
        store: KVCache,
        ids: Sequence[int],
        lengths: Sequence[int],
        spans: Sequence[CreditSpan],
        stretch: int = 0,
    ) -> Tensor | None:
        """Decode one token of each of the first rows of a KV cache with a graph, if there is one.

        Args:
            store: The rows.
            ids: Their last tokens.
            lengths: Tokens already in the rows; equal to the positions of the last tokens.
            spans: Whom they are credited to.
            stretch: The stretch of lengths that the rows belong to.

        Returns:
            Final hidden states, [rows, hidden], valid until the next call; ``None`` if the step has to run
            without a graph (nothing was done).
        """
        if self._capture is None:
            return None
        if store is not self._store or (store.rows, store.capacity) != self._room:
            # Graphs refer to the memory that they were recorded with.
            self._graphs.clear()
            self._store, self._room = store, (store.rows, store.capacity)
        size = (*_size(len(ids), max(lengths) + 1, store), stretch)
        if size not in self._graphs:
            self._graphs[size] = None
            return None
        graph = self._graphs[size]
        if graph is None:
            graph = self._record(self._capture, store, size, ids, lengths)
            if graph is None:
                self._capture = None
                self._graphs.clear()
                return None
            self._graphs[size] = graph
        graph.run(ids, lengths)
        self._model.tokens += len(ids)
        states, routed = graph.outputs
        self._recorder.add(routed, spans, ids, lengths)
        return states[: len(ids)]

    def clear(self) -> None:
        """Free all graphs and their memory."""
        self._graphs.clear()
        self._store, self._room = KVCache(0, 0), (0, 0)

    def _record(
        self,
        capture: Capture,
        store: KVCache,
        size: tuple[int, int, int],
        ids: Sequence[int],
        lengths: Sequence[int],
    ) -> _Graph | None:
        """Record a graph and compare it with the plain forward; ``None`` if that fails."""
        rows, reach, stretch = size
        device = self._model.device
        tokens, held = (torch.zeros(rows, dtype=torch.long, device=device) for _ in range(2))

        def step() -> Step:
            block = DecodeBlock.of(store, held, [(0, rows, reach)], dtype=self._model.dtype)
            pack = Pack([], block, stretch)
            return self._recorder.record_uncounted(lambda: self._model.hidden(tokens, held, pack), rows)

        counted = self._model.tokens
        try:
            _fill(tokens, ids)
            _fill(held, lengths)
            # Running the step again is harmless: it writes the same keys to the same places.
            expected, _ = step()
            outputs, replay = capture(step)
            graph = _Graph(tokens, held, outputs, replay)
            graph.run(ids, lengths)
            scale = expected.abs().max().clamp(min=1e-30)
            off = float((outputs[0] - expected).abs().max() / scale)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                _LOG.info("no memory for a graph of %d rows, decoding goes on without graphs", rows)
            else:
                _LOG.warning("decoding cannot be recorded as a graph and goes on without: %s", error)
            return None
        finally:
            self._model.tokens = counted
        if not off <= _TOLERANCE[self._model.dtype]:
            _LOG.warning("a recorded decoding step differs by %.1e, decoding goes on without graphs", off)
            return None
        return graph


def _fill(held: Tensor, values: Sequence[int]) -> None:
    """Put values into a graph's input, padded with zeros."""
    held[: len(values)] = torch.tensor(values, device=held.device)
    held[len(values) :] = 0


def _size(rows: int, reach: int, store: KVCache) -> tuple[int, int]:
    """R and C for a step of so many rows and tokens per row."""
    if rows <= 8:
        padded = 1 << (rows - 1).bit_length()
    else:
        step = 8 if rows <= 64 else 32
        padded = -(-rows // step) * step
    return min(padded, store.rows), min(-(-reach // _REACH) * _REACH, store.capacity)


class CudaCapture:
    """Records steps as CUDA graphs. They share memory, because they run one after the other.

    Args:
        device: The device of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Callable[[], Step]) -> tuple[Step, Callable[[], None]]:
        """Record a step."""
        with torch.cuda.device(self._device):
            stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                step()  # libraries set themselves up, kernels are compiled
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                outputs = step()
        return outputs, graph.replay
