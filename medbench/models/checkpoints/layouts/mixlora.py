"""MixLoRA (arXiv 2404.15159), as its authors' packages save it: mixlora 0.2.3 and MoE-PEFT.

``adapter_model.bin`` holds, beside plain LoRA in attention, for each layer::

    mixlora.layers.<l>.mlp.moe_gate.weight                          [E, hidden]
    mixlora.layers.<l>.mlp.<linear>.experts.<i>.lora_A.weight        [r, in]
    mixlora.layers.<l>.mlp.<linear>.experts.<i>.lora_B.weight        [out, r]

Older ones (``"routing_strategy": "mixtral"``) have ``mixlora.layers.<l>.gate.weight`` instead, and
``experts.<i>.w1_proj`` (gate), ``w3_proj`` (up) and ``w2_proj`` (down). The packages read ``expert_lora``
differently, which gives two models of the same files: mixlora 0.2.3 takes the experts' rank and alpha from
the outer settings, MoE-PEFT from those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medbench.common.choices import MLP_PROJECTIONS, LayoutName
from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig, integer, number
from medbench.models.architecture.skeleton import LinearPlace
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint, canonical
from medbench.models.checkpoints.layouts.experts import PlainLoRA, projections_of, read_experts
from medbench.models.checkpoints.layouts.lora_config import check_keys
from medbench.models.checkpoints.layouts.moe_peft import USED, experts_of, linear_name, lora_names, use_rslora

_PREFIX = "mixlora"
_KEYS = USED | {"act_fn", "expert_lora", "temperature", "top_k", "top_p"}
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "peft_type": ("MIXLORA",),
    "task_type": ("CAUSAL_LM",),
}
# What may stand in `expert_lora`.
_EXPERT_USED = frozenset({"base_model_name_or_path", "lora_alpha", "lora_dropout", "r", "use_rslora"})
_OLD_NAMES = {"gate": "w1_proj", "up": "w3_proj", "down": "w2_proj"}
_READINGS: tuple[LayoutName, ...] = ("mixlora-0.2.3", "mixlora-moe-peft")


def read_mixlora(folder: Path, base_folder: Path, reading: LayoutName = "mixlora") -> Checkpoint:
    """Open an adapter and its base.

    Args:
        folder: The adapter.
        base_folder: The base model.
        reading: ``mixlora``, or whose reading of ``expert_lora`` is meant: ``mixlora-0.2.3`` or
            ``mixlora-moe-peft``.

    Raises:
        ModelError: The configuration asks for something else or can be read in two ways, or a file is missing
            or damaged.
    """
    config, where = read_json(folder / "adapter_config.json"), str(folder / "adapter_config.json")
    strategy = config.get("routing_strategy")
    old = strategy == "mixtral"
    if strategy == "mixlora-switch":
        raise ModelError(
            "routing_strategy is mixlora-switch, whose code gives back the block's own input in evaluation: "
            "neither experts nor the base's MLPs take part",
            where=where,
            hint="there is no arithmetic that such a checkpoint was trained for and is evaluated by",
        )
    if strategy not in ("mixlora", "mixtral", "mixlora-dynamic"):
        raise ModelError(f"routing_strategy is {strategy!r}", where=where, hint="mixlora or mixlora-dynamic")
    check_keys(config, where, used=_KEYS, allowed=_ALLOWED)
    targets = projections_of(config, where)
    routed = tuple(name for name in targets if name in MLP_PROJECTIONS)
    if not routed:
        raise ModelError("target_modules names no linear of the MLPs, which carry the experts", where=where)
    outer = _outer(config, routed, where)
    experts = replace(outer, **_expert_lora(config, outer, reading, where))
    plain = tuple(name for name in targets if name not in MLP_PROJECTIONS)
    lora = PlainLoRA(plain, outer.rank, outer.scaling, lambda place: lora_names(place, _PREFIX))

    def names(place: LinearPlace) -> Mapping[str, Sequence[str]]:
        return _names(place, experts.num_experts, old=old)

    return read_experts(folder, base_folder, reading, experts, names, lora)


def _outer(config: Mapping[str, Any], routed: Any, where: str) -> MoLoRAConfig:
    """The shape of the mixtures by the outer settings."""
    dynamic = config.get("routing_strategy") == "mixlora-dynamic"
    experts = experts_of(config, where)
    for key in () if dynamic else ("top_p", "temperature"):
        if config.get(key) not in (None, 0, 0.0):
            raise ModelError(f"{key} is {config[key]!r}, which belongs to mixlora-dynamic", where=where)
    if dynamic and config.get("top_k") is not None:
        raise ModelError(f"top_k is {config['top_k']!r}, which mixlora-dynamic does not have", where=where)
    activation = config.get("act_fn")
    if activation is not None and not isinstance(activation, str):
        raise ModelError(f"act_fn is {activation!r}, expected the name of an activation", where=where)
    top_p = number(config, "top_p", where) if dynamic else 0.0
    if dynamic and not 0 < top_p <= 1:
        raise ModelError(f"top_p is {top_p}, expected more than 0 and at most 1", where=where)
    return MoLoRAConfig(
        num_experts=experts,
        top_k=experts if dynamic else integer(config, "top_k", where),
        rank=integer(config, "r", where),
        alpha=number(config, "lora_alpha", where),
        use_rslora=use_rslora(config, where),
        router_bias=False,
        projections=routed,
        block=True,
        top_p=top_p,
        temperature=number(config, "temperature", where) if config.get("temperature") is not None else 0.0,
        activation=activation,
    )


def _expert_lora(
    config: Mapping[str, Any], outer: MoLoRAConfig, reading: LayoutName, where: str
) -> dict[str, Any]:
    """Rank, alpha and scaling of the experts, where they have settings of their own."""
    inner = config.get("expert_lora")
    if inner is None:
        return {}
    if not isinstance(inner, Mapping):
        raise ModelError(f"expert_lora is {inner!r}, expected settings", where=where)
    check_keys(inner, f"{where}, expert_lora", used=_EXPERT_USED, allowed=_ALLOWED)
    found = {
        "rank": integer(inner, "r", where) if inner.get("r") is not None else outer.rank,
        "alpha": number(inner, "lora_alpha", where) if inner.get("lora_alpha") is not None else outer.alpha,
        # MoE-PEFT writes the key only if it is true, and inherits it where it is missing.
        "use_rslora": use_rslora(inner, where) if inner.get("use_rslora") is not None else outer.use_rslora,
    }
    if reading == "mixlora-0.2.3" or all(found[key] == getattr(outer, key) for key in found):
        return {}
    if reading == "mixlora":
        raise ModelError(
            "expert_lora differs from the settings outside it, and two programs read it differently: "
            "mixlora 0.2.3 not at all, MoE-PEFT as the experts' rank and alpha",
            where=where,
            hint=f"say which one it was trained with: layout {' or '.join(_READINGS)}",
        )
    return found


def _names(place: LinearPlace, experts: int, *, old: bool) -> dict[str, Sequence[str]]:
    mlp, _, _ = place.name.rpartition(".")
    block = linear_name(mlp, _PREFIX)
    layer = block.rpartition(".")[0]
    if old:
        stems = [f"{layer}.experts.{i}.{_OLD_NAMES[place.projection]}" for i in range(experts)]
    else:
        stems = [f"{linear_name(place.name, _PREFIX)}.experts.{i}" for i in range(experts)]
    return {
        canonical(mlp, "router"): [f"{layer}.gate.weight" if old else f"{block}.moe_gate.weight"],
        canonical(place.name, "a"): [f"{stem}.lora_A.weight" for stem in stems],
        canonical(place.name, "b"): [f"{stem}.lora_B.weight" for stem in stems],
    }
