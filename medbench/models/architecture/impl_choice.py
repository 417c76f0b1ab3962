"""Which form of the MoLoRA arithmetic a loaded model runs, when nobody asked for one.

``fused`` is taken where it can run, computes what ``stacked`` computes on the model's own weights, and is
faster there, all three found out on the machine at hand; ``stacked`` otherwise.
"""

from __future__ import annotations

import logging
import time

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.architecture.fused import require_fused
from medbench.models.architecture.mixture import Impl
from medbench.models.architecture.mixtures import molora_linears, set_impl
from medbench.models.architecture.molora import MoLoRALinear

_LOG = logging.getLogger(__name__)
_TOKENS = 64  # rows of a decoding step
_REPEATS = 20
# Largest difference, relative to the largest output: two roundings of the element type, and then some.
_TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@torch.inference_mode()
def choose_impl(model: torch.nn.Module) -> Impl:
    """Set the faster correct form on every mixture of a model, and return it.

    Args:
        model: On the device it is to run on.
    """
    mixtures = [module for module in molora_linears(model) if module.config.fusible]
    chosen: Impl = "fused" if mixtures and all(map(_prefers_fused, mixtures[:3])) else "stacked"
    set_impl(model, chosen)
    return chosen


def _prefers_fused(module: MoLoRALinear) -> bool:
    """Whether the kernel is right and worth while for one of a layer's three projections."""
    weight = module.molora_in
    try:
        require_fused(weight.device, weight.dtype, module.config)
    except ModelError:
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_TOKENS, weight.shape[1], generator=generator).to(weight.device, weight.dtype)
    before = module.impl
    try:
        stacked, slow = _timed(module, "stacked", x)
        fused, fast = _timed(module, "fused", x)
    except Exception as error:  # noqa: BLE001 - a compiler may raise anything; the other form needs none
        _LOG.warning("impl fused cannot be compiled here, stacked is used: %s", error)
        return False
    finally:
        module.impl = before
    off = float((fused.double() - stacked.double()).abs().max() / stacked.double().abs().max())
    if not off <= _TOLERANCE[weight.dtype]:
        _LOG.warning("impl fused differs from stacked by %.1e here, stacked is used", off)
        return False
    return fast < slow


def _timed(module: MoLoRALinear, impl: Impl, x: Tensor) -> tuple[Tensor, float]:
    """The module's output in one form, and the seconds that it takes once it is compiled."""
    module.impl = impl
    y: Tensor = module(x)
    _wait(x)
    started = time.perf_counter()
    for _ in range(_REPEATS):
        module(x)
    _wait(x)
    return y, (time.perf_counter() - started) / _REPEATS


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
