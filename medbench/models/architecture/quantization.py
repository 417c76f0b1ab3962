"""Base weights in 8 or 4 bits through bitsandbytes; everything else stays in the compute dtype.

Quantized are the linear layers inside the decoder's layers: attention, and the base layer that each mixture
corrects. The experts and their routers (a few percent of the weights, and what is being evaluated), the
embeddings, the norms and the output layer are not.

- ``int8``: rows in 8 bits, outlying inputs in 16 (LLM.int8, arXiv 2208.07339).
- ``nf4``: blocks of 64 values in 4 bits of the normal-float code (QLoRA, arXiv 2305.14314).
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from medbench.common.choices import QUANTIZATIONS
from medbench.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What bitsandbytes' product of 4-bit weights on a CPU takes at once.
_CPU_OUTPUTS, _CPU_INPUTS = 32, 64


def require_quantization(kind: str, dtype: torch.dtype) -> None:
    """Say why weights cannot be quantized, if they cannot.

    Raises:
        ModelError: The kind is unknown, bitsandbytes is missing, or it does not compute in ``dtype``.
    """
    if kind not in QUANTIZATIONS:
        raise ModelError(f"unknown quantization {kind!r}", hint=f"one of {', '.join(QUANTIZATIONS)}")
    if kind == "none":
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"quantization {kind} needs bitsandbytes, which is not installed",
            hint="pip install 'medbench[quantization]'",
        )
    if dtype == torch.float64:
        raise ModelError("quantized weights are not computed with in float64", hint="use dtype bfloat16")


def quantize(model: PreTrainedModel, kind: str, device: torch.device) -> None:
    """Quantize the base weights of a model on their way to its device, layer by layer.

    The device never holds more of the model in the compute dtype than one layer; the CPU's memory holds all.

    Args:
        model: The model, on the CPU; changed in place.
        kind: ``int8`` or ``nf4``.
        device: Where it is to run.

    Raises:
        ModelError: A layer's shape does not suit.
    """
    head: Any = cast("Any", model).get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child is not head:
                if kind == "nf4" and device.type == "cpu":
                    _require_blocks(name, child)
                setattr(parent, name, _quantized(child, kind).to(device))


def _require_blocks(name: str, linear: nn.Linear) -> None:
    if linear.out_features % _CPU_OUTPUTS or linear.in_features % _CPU_INPUTS:
        raise ModelError(
            f"{name} is a layer of {linear.out_features} x {linear.in_features}; in 4 bits on a CPU these "
            f"must be multiples of {_CPU_OUTPUTS} and {_CPU_INPUTS}",
            hint="use int8, or a GPU",
        )


def _quantized(linear: nn.Linear, kind: str) -> nn.Module:
    """The same layer for bitsandbytes; its weights are quantized when it is moved to a device."""
    layers: Any = importlib.import_module("bitsandbytes.nn")
    weight = linear.weight.data
    shape = (linear.in_features, linear.out_features, linear.bias is not None)
    layer: Any
    if kind == "int8":
        layer = layers.Linear8bitLt(*shape, has_fp16_weights=False, device="meta")
        layer.weight = layers.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        layer = layers.Linear4bit(*shape, compute_dtype=weight.dtype, quant_type=kind, device="meta")
        layer.weight = layers.Params4bit(weight, requires_grad=False, quant_type=kind)
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.data, requires_grad=False)
    module: nn.Module = layer
    return module
