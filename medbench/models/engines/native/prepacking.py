"""Prepacked weights: reordered once for a CPU's matrix product.

A product with few tokens spends most of its time reordering the weight for its inner loops, every time again.
oneDNN accepts a weight that was reordered before: with Qwen's output layer of 512 inputs, 24 tokens then take
21 ms instead of 80, and prefill gains a sixth (two cores, float32). The price is a second copy of the
weights, made if memory allows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.models.architecture.memory import free_memory

_LOG = logging.getLogger(__name__)
_SHARE = 0.25  # part of the free memory that the copies may take
_TOKENS = 16  # tokens that the order is chosen for; it works with any number
# Largest difference from the plain product, relative to the largest output. float16 is left out: few
# processors support it.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}

Product = Callable[[Tensor], Tensor]


def packs(dtype: torch.dtype) -> bool:
    """Whether this machine can prepack weights of a number format; bfloat16 needs special instructions."""
    if dtype not in _TOLERANCE or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _State(NamedTuple):
    """Identifies the content of a weight, to notice changes."""

    address: int
    version: int

    @classmethod
    def of(cls, weight: Tensor) -> _State:
        return cls(weight.data_ptr(), weight._version)


class PrepackedWeights:
    """The linear layers of a model with prepacked weights.

    Args:
        model: Its plain linear layers on the CPU, in float32 or bfloat16, are prepacked; none if the copies
            would take more than a quarter of the free memory, and none whose prepacked product is not right.
    """

    def __init__(self, model: nn.Module) -> None:
        linears = [module for module in model.modules() if _can_pack(module)]
        size = sum(linear.weight.nbytes for linear in linears)
        if size > _SHARE * free_memory(torch.device("cpu")):
            _LOG.info("no room to pack %.1f GiB of weights, products of few tokens take longer", size / 2**30)
            linears = []
        self._linears = linears
        self._packed: dict[nn.Linear, tuple[_State, Product | None]] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the layers use prepacked weights until the block ends."""
        with ExitStack() as stack:
            for linear in self._linears:
                product = self._current(linear)
                if product is not None:
                    earlier = linear.__dict__.get("forward")
                    linear.__dict__["forward"] = product
                    stack.callback(_restore, linear, earlier)
            yield

    def product(self, layer: nn.Module) -> Product:
        """The product of one layer, with its prepacked weight if it has one."""
        packed = self._current(layer) if isinstance(layer, nn.Linear) and layer in self._linears else None
        return layer if packed is None else packed

    def _current(self, linear: nn.Linear) -> Product | None:
        """The prepacked product, renewed if the weight changed; a change through ``.data`` goes unnoticed."""
        state = _State.of(linear.weight)
        held = self._packed.get(linear)
        if held is None or held[0] != state:
            self._packed[linear] = held = (state, _pack(linear))
        return held[1]


def _restore(linear: nn.Linear, forward: Product | None) -> None:
    if forward is None:
        del linear.__dict__["forward"]
    else:
        linear.__dict__["forward"] = forward


def _can_pack(module: nn.Module) -> TypeGuard[nn.Linear]:
    if type(module) is not nn.Linear or "forward" in module.__dict__:
        return False  # a quantized layer, or one with a replaced forward
    weight = module.weight
    return (
        weight.device.type == "cpu"
        and not weight.is_inference()  # has no version counter
        and packs(weight.dtype)
    )


@torch.inference_mode()
def _pack(linear: nn.Linear) -> Product | None:
    """The layer's product with a prepacked weight, or ``None`` if the two differ."""
    bias = linear.bias
    x = torch.linspace(-1, 1, 2 * linear.in_features, dtype=linear.weight.dtype).view(2, -1)
    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight, _TOKENS)

        def product(x: Tensor) -> Tensor:
            y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
            return y

        expected = F.linear(x, linear.weight, bias)
        off = (product(x) - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
    except RuntimeError as error:
        _LOG.info("a weight cannot be packed here: %s", error)
        return None
    return product if bool(off <= _TOLERANCE[linear.weight.dtype]) else None
