"""The mixture's routing, gating and expansion as one Triton kernel, instead of seven operations.

It takes what two matrix products leave (the base layer's output, and ``h = [A;S] x + [0;b]``) and adds the
experts in place: top-k of the logits, softmax, gate, expand, add, with one rounding at the end. Among equal
logits the lowest index wins.
"""

from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig

MAX_EXPERTS = 16

# Chosen to compile for every shape, not tuned on any GPU.
_BLOCK_TOKENS = 16
_BLOCK_OUT = 64
# The smallest side of a tile that a matrix unit takes.
_SMALLEST_DOT = 16
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def require_fused(device: torch.device, dtype: torch.dtype, config: MoLoRAConfig) -> None:
    """Say why the kernel cannot be used, if it cannot.

    Raises:
        ModelError: triton or a CUDA device is missing, or the mixture does not suit the kernel.
    """
    hint = "use impl stacked, which gives the same answers on every device"
    if importlib.util.find_spec("triton") is None:
        raise ModelError("impl fused needs triton, which is not installed", hint=hint)
    if device.type != "cuda" and not _interpreted():
        raise ModelError(f"impl fused needs a CUDA device, not {device.type}", hint=hint)
    if not config.fusible:
        raise ModelError(
            "impl fused computes no shared experts, no shared A and no experts that are whole MLPs", hint=hint
        )
    if config.num_experts > MAX_EXPERTS:
        raise ModelError(
            f"impl fused takes at most {MAX_EXPERTS} experts, not {config.num_experts}", hint=hint
        )
    if dtype not in _DTYPES:
        raise ModelError(f"impl fused does not compute in {dtype}", hint=hint)


def expand_(y: Tensor, h: Tensor, b: Tensor, *, num_experts: int, top_k: int, scaling: float) -> Tensor:
    """Add the experts' outputs to the base layer's, in place.

    Args:
        y: [N, out], the base layer's output; changed.
        h: [N, E*r + E], A x and the router's logits.
        b: [out, E*r], the columns of all B_i.
        num_experts: E, at most :data:`MAX_EXPERTS`.
        top_k: Experts that a token uses.
        scaling: Factor on every expert's output.

    Returns:
        ``y``.
    """
    from medbench.models.architecture.fused_kernel import expand_kernel

    tokens, out_features = y.shape
    rank = b.shape[1] // num_experts
    if not tokens:
        return y
    assert y.stride(1) == h.stride(1) == b.stride(1) == 1
    grid = (-(-tokens // _BLOCK_TOKENS), -(-out_features // _BLOCK_OUT))
    expand_kernel[grid](
        y,
        h,
        b,
        tokens,
        out_features,
        scaling,
        y.stride(0),
        h.stride(0),
        b.stride(0),
        EXPERTS=num_experts,
        EXPERTS_PADDED=_power_of_two(num_experts),
        TOP_K=top_k,
        RANK=rank,
        RANK_PADDED=max(_SMALLEST_DOT, _power_of_two(rank)),
        BLOCK_TOKENS=_BLOCK_TOKENS,
        BLOCK_OUT=_BLOCK_OUT,
        WIDEN=_interpreted(),
    )
    return y


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
