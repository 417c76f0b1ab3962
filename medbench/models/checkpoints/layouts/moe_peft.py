"""Mixtures in front of single linears as MoE-PEFT saves them (TUDB-Labs/MoE-PEFT): ``MOLA`` and ``LORAMOE``.

``adapter_model.bin`` holds for each linear with experts::

    <format>.layers.<l>.<self_attn|mlp>.<linear>.moe_gate.weight           [E, in]
    <format>.layers.<l>.<self_attn|mlp>.<linear>.experts.<i>.lora_A.weight  [r, in]
    <format>.layers.<l>.<self_attn|mlp>.<linear>.experts.<i>.lora_B.weight  [out, r]

MoLA (arXiv 2402.08562) has experts at all targets, and keeps the k best, renormalized. LoRAMoE has them at
the linears of the MLPs, with a dense softmax, and plain LoRA in attention. Routers have no bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medbench.common.choices import MLP_PROJECTIONS
from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig, boolean, integer, number
from medbench.models.architecture.skeleton import LinearPlace
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint, canonical
from medbench.models.checkpoints.layouts.experts import PlainLoRA, projections_of, read_experts
from medbench.models.checkpoints.layouts.lora_config import check_keys

#: Keys that are read, or that matter in training only. ``jitter_noise`` acts in evaluation: it must be off.
USED = frozenset(
    {
        "base_model_name_or_path",
        "inference_mode",
        "lora_alpha",
        "lora_dropout",
        "num_experts",
        "r",
        "router_aux_loss_coef",
        "router_init_range",
        "router_loss",
        "router_z_loss_coef",
        "routing_strategy",
        "target_modules",
        "use_rslora",
    }
)


def read_mola(folder: Path, base_folder: Path) -> Checkpoint:
    """Open an adapter of MoLA and its base.

    Raises:
        ModelError: The configuration asks for something else, or a file is missing or damaged.
    """
    config, where = read_json(folder / "adapter_config.json"), str(folder / "adapter_config.json")
    check_keys(config, where, used=USED | {"top_k"}, allowed=_allowed("mola"))
    molora = MoLoRAConfig(
        num_experts=experts_of(config, where),
        top_k=integer(config, "top_k", where),
        rank=integer(config, "r", where),
        alpha=number(config, "lora_alpha", where),
        use_rslora=use_rslora(config, where),
        router_bias=False,
        projections=projections_of(config, where),
    )
    return read_experts(folder, base_folder, "mola", molora, lambda place: _names(place, "mola", molora))


def read_moe_peft_loramoe(folder: Path, base_folder: Path) -> Checkpoint:
    """Open an adapter of LoRAMoE that MoE-PEFT saved, and its base.

    Raises:
        ModelError: The configuration asks for something else, or a file is missing or damaged.
    """
    config, where = read_json(folder / "adapter_config.json"), str(folder / "adapter_config.json")
    check_keys(config, where, used=USED, allowed=_allowed("loramoe"))
    targets, experts = projections_of(config, where), experts_of(config, where)
    routed = tuple(name for name in targets if name in MLP_PROJECTIONS)
    if not routed:
        raise ModelError("target_modules names no linear of the MLPs, which carry the experts", where=where)
    molora = MoLoRAConfig(
        num_experts=experts,
        top_k=experts,
        rank=integer(config, "r", where),
        alpha=number(config, "lora_alpha", where),
        use_rslora=use_rslora(config, where),
        router_bias=False,
        projections=routed,
    )
    plain = tuple(name for name in targets if name not in MLP_PROJECTIONS)
    lora = PlainLoRA(plain, molora.rank, molora.scaling, lambda place: lora_names(place, "loramoe"))
    return read_experts(
        folder, base_folder, "loramoe", molora, lambda place: _names(place, "loramoe", molora), lora
    )


def lora_names(place: LinearPlace, prefix: str) -> tuple[str, str]:
    """Names of A and B of plain LoRA at a linear."""
    linear = linear_name(place.name, prefix)
    return f"{linear}.lora_A.weight", f"{linear}.lora_B.weight"


def _expert_names(place: LinearPlace, prefix: str, num_experts: int) -> dict[str, list[str]]:
    experts = [f"{linear_name(place.name, prefix)}.experts.{i}" for i in range(num_experts)]
    return {
        canonical(place.name, "a"): [f"{expert}.lora_A.weight" for expert in experts],
        canonical(place.name, "b"): [f"{expert}.lora_B.weight" for expert in experts],
    }


def _names(place: LinearPlace, prefix: str, molora: MoLoRAConfig) -> Mapping[str, Sequence[str]]:
    router = f"{linear_name(place.name, prefix)}.moe_gate.weight"
    return {**_expert_names(place, prefix, molora.num_experts), canonical(place.name, "router"): [router]}


def linear_name(name: str, prefix: str) -> str:
    """What a module of the base is called in the file."""
    return f"{prefix}.{name.removeprefix('model.')}"


def _allowed(strategy: str) -> dict[str, tuple[Any, ...]]:
    return {
        "bias": ("none",),
        "peft_type": (strategy.upper(),),
        "routing_strategy": (strategy,),
        "task_type": ("CAUSAL_LM",),
    }


def experts_of(config: Mapping[str, Any], where: str) -> int:
    """How many experts there are.

    Raises:
        ModelError: One at most, which would have nothing to choose.
    """
    experts = integer(config, "num_experts", where)
    if experts < 2:
        raise ModelError(f"num_experts is {experts}: such experts have nothing to choose", where=where)
    return experts


def use_rslora(config: Mapping[str, Any], where: str) -> bool:
    """Whether LoRA is scaled by ``alpha / sqrt(r)``."""
    return config.get("use_rslora") is not None and boolean(config, "use_rslora", where)
