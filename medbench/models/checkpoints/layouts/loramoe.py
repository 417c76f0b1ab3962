"""LoRAMoE (arXiv 2312.09979) and HydraLoRA (arXiv 2404.19245), as their authors' training code saves them.

``adapter_config.json`` says ``"peft_type": "LORA"`` and names ``lora_nums`` experts, which PEFT passes over;
``adapter_model.bin`` holds for each linear of the MLPs, with ``base_model.model.`` before its name::

    <linear>.lora_route.weight  [E, in]
    <linear>.lora_A<i>.weight   [r, in]     HydraLoRA: one <linear>.lora_A.weight
    <linear>.lora_B<i>.weight   [out, r]

The gate is dense: a softmax over all experts, without bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medbench.common.choices import MLP_PROJECTIONS
from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig, integer, number
from medbench.models.architecture.skeleton import LinearPlace
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint, canonical
from medbench.models.checkpoints.layouts.experts import adapter_tensors, projections_of, read_experts
from medbench.models.checkpoints.layouts.lora_config import READ_OR_UNUSED, check_keys
from medbench.models.checkpoints.layouts.moe_peft import read_moe_peft_loramoe

EXPERTS_KEY = "lora_nums"
# ``blc_alpha`` and ``blc_weight`` are of the loss that balances experts in training.
_USED = READ_OR_UNUSED - {"fan_in_fan_out", "use_rslora"} | {"blc_alpha", "blc_weight", EXPERTS_KEY}
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "init_lora_weights": (True,),
    "bias": ("none",),
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM",),
}


def shares_a(folder: Path) -> bool:
    """Whether the experts of an adapter share one A, as HydraLoRA's do."""
    return any(name.endswith(".lora_A.weight") for name in adapter_tensors(folder).tensors)


def read_loramoe(folder: Path, base_folder: Path) -> Checkpoint:
    """Open an adapter of LoRAMoE, by its authors or by MoE-PEFT, and its base.

    Raises:
        ModelError: The configuration asks for something else, or a file is missing or damaged.
    """
    if read_json(folder / "adapter_config.json").get("peft_type") != "LORA":
        return read_moe_peft_loramoe(folder, base_folder)
    molora = _config(folder, shared_a=False)
    return read_experts(folder, base_folder, "loramoe", molora, lambda place: _names(place, molora))


def read_hydralora(folder: Path, base_folder: Path) -> Checkpoint:
    """Open an adapter of HydraLoRA and its base.

    Raises:
        ModelError: The configuration asks for something else, or a file is missing or damaged.
    """
    molora = _config(folder, shared_a=True)
    return read_experts(folder, base_folder, "hydralora", molora, lambda place: _names(place, molora))


def _config(folder: Path, *, shared_a: bool) -> MoLoRAConfig:
    where = str(folder / "adapter_config.json")
    config = read_json(folder / "adapter_config.json")
    check_keys(config, where, used=_USED, allowed=_ALLOWED)
    experts = integer(config, EXPERTS_KEY, where)
    if experts < 2:
        raise ModelError(f"{EXPERTS_KEY} is {experts}: such experts have nothing to choose", where=where)
    projections = projections_of(config, where)
    if not set(projections) <= set(MLP_PROJECTIONS):
        raise ModelError(
            "target_modules names linears of attention, where the authors' code does not run experts",
            where=where,
        )
    return MoLoRAConfig(
        num_experts=experts,
        top_k=experts,
        rank=integer(config, "r", where),
        alpha=number(config, "lora_alpha", where),
        router_bias=False,
        shared_a=shared_a,
        projections=projections,
    )


def _names(place: LinearPlace, molora: MoLoRAConfig) -> Mapping[str, Sequence[str]]:
    linear, numbers = f"base_model.model.{place.name}", range(molora.num_experts)
    a = [""] if molora.shared_a else [str(i) for i in numbers]
    return {
        canonical(place.name, "a"): [f"{linear}.lora_A{i}.weight" for i in a],
        canonical(place.name, "b"): [f"{linear}.lora_B{i}.weight" for i in numbers],
        canonical(place.name, "router"): [f"{linear}.lora_route.weight"],
    }
