"""Names that the authors' code gives to the tensors of a mixture, and how they stack.

Both their layouts share them::

    <linear>.switch.weight               [E, in]    the router
    <linear>.switch.bias                 [E]
    <linear>.experts.<i>.lora_A_<i>.weight  [r, in]
    <linear>.experts.<i>.lora_B_<i>.weight  [out, r]

MedCare, which is built on their code, adds experts that every token passes, one behind the other::

    <linear>.share_experts.lora_A.weight    [r*n, in]
    <linear>.share_experts.lora_B.weight    [out, r*n]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.skeleton import Skeleton
from medbench.models.checkpoints.layouts.checkpoint import canonical
from medbench.models.checkpoints.tensors import LazyTensor

_LORA_A = re.compile(r"\.experts\.\d+\.lora_A_\d+\.weight$")
_EXPERT = re.compile(
    r"\.(?:switch\.(?:weight|bias)|experts\.\d+\.lora_[AB]_\d+\.weight|share_experts\.lora_[AB]\.weight)$"
)


def is_expert_name(name: str) -> bool:
    """Whether a tensor's name is one of a mixture's."""
    return _EXPERT.search(name) is not None


def speaks_of_experts(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` was written for a merged checkpoint."""
    return bool({"expert_selection", "lora_alpha"} & config.keys())


def rank_of(tensors: Mapping[str, LazyTensor]) -> int | None:
    """Return the rank of a mixture's experts by their shapes, ``None`` without any."""
    return next((tensor.shape[0] for name, tensor in tensors.items() if _LORA_A.search(name)), None)


def expected_shapes(skeleton: Skeleton, config: MoLoRAConfig) -> dict[str, tuple[int, ...]]:
    """Return the authors' name -> shape of the tensors of all mixtures."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, place in skeleton.mlp.items():
        out_features, in_features = place.linear.weight.shape
        for a, b in _experts(name, config):
            shapes[a] = (config.rank, in_features)
            shapes[b] = (out_features, config.rank)
        if config.has_router:
            shapes[f"{name}.switch.weight"] = (config.num_experts, in_features)
            shapes[f"{name}.switch.bias"] = (config.num_experts,)
        if config.shared_experts:
            shapes[f"{name}.share_experts.lora_A.weight"] = (config.shared_rank, in_features)
            shapes[f"{name}.share_experts.lora_B.weight"] = (out_features, config.shared_rank)
    return shapes


def stack(
    found: Mapping[str, LazyTensor],
    shapes: Mapping[str, tuple[int, ...]],
    skeleton: Skeleton,
    config: MoLoRAConfig,
) -> dict[str, LazyTensor]:
    """Turn the authors' tensors, already compared with the expected ones, into canonical ones.

    Args:
        found: The authors' name -> tensor.
        shapes: Canonical name -> shape.
        skeleton: The model.
        config: Shape of the mixtures.
    """
    stacked: dict[str, LazyTensor] = {}
    for name in skeleton.mlp:
        a, b = canonical(name, "a"), canonical(name, "b")
        pairs = list(_experts(name, config))
        stacked[a] = concatenated([found[one] for one, _ in pairs], 0, shapes[a])
        stacked[b] = concatenated([found[one] for _, one in pairs], 1, shapes[b])
        if config.has_router:
            stacked[canonical(name, "router")] = found[f"{name}.switch.weight"]
            stacked[canonical(name, "router_bias")] = found[f"{name}.switch.bias"]
        if config.shared_experts:
            stacked[canonical(name, "shared_a")] = found[f"{name}.share_experts.lora_A.weight"]
            stacked[canonical(name, "shared_b")] = found[f"{name}.share_experts.lora_B.weight"]
    return stacked


def _experts(linear: str, config: MoLoRAConfig) -> Iterable[tuple[str, str]]:
    for i in range(config.num_experts):
        yield f"{linear}.experts.{i}.lora_A_{i}.weight", f"{linear}.experts.{i}.lora_B_{i}.weight"


def concatenated(parts: list[LazyTensor], dim: int, shape: tuple[int, ...]) -> LazyTensor:
    """Join tensors along a dimension, in their widest element type."""
    dtype = parts[0].dtype
    for part in parts[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    return LazyTensor(shape, dtype, lambda: torch.cat([part.read().to(dtype) for part in parts], dim))
