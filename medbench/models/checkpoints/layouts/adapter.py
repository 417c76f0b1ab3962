"""The authors' adapter layout: attention LoRA in PEFT's format and a pickle with the experts; needs its base.

The attention LoRA is merged into the base's weights as they are read: ``W + scaling * B A`` in float32,
rounded once, to the dtype of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from medbench.common.choices import LayoutName
from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig, architecture
from medbench.models.architecture.skeleton import Skeleton
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts import authors
from medbench.models.checkpoints.layouts.base_match import check_base
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint, molora_shapes
from medbench.models.checkpoints.layouts.fitting import fitted
from medbench.models.checkpoints.layouts.lora_config import check_lora, lora_targets
from medbench.models.checkpoints.layouts.merging import merged_lora
from medbench.models.checkpoints.layouts.opening import open_model
from medbench.models.checkpoints.tensors import LazyTensor, compare, open_tensors, stem_files

EXPERTS_FILE = "non_lora_trainables.bin"


def read_adapter(folder: Path, base_folder: Path, reading: LayoutName = "adapter") -> Checkpoint:
    """Open an adapter and its base.

    Args:
        folder: The adapter.
        base_folder: The base model.
        reading: ``adapter`` for all experts; ``medcare-no-share`` leaves out those that every token passes,
            as MING's loader does; ``medcare-share`` merges just these into the base, as MedCare's loader does
            on request: by PEFT, with their whole width for a rank.

    Raises:
        ModelError: A configuration asks for unsupported arithmetic, the base is another one, or a file is
            missing or damaged; or there are no shared experts, of which the reading speaks.
    """
    config_path, lora_path = folder / "config.json", folder / "adapter_config.json"
    config, lora = read_json(config_path), read_json(lora_path)
    base_config = read_json(base_folder / "config.json")
    molora = MoLoRAConfig.from_authors(config, lora, where=str(config_path), lora_where=str(lora_path))
    if reading != "adapter" and not molora.shared_experts:
        raise ModelError(
            f"layout {reading} is for adapters with shared experts", where=str(config_path), hint="use auto"
        )
    computed = {
        "adapter": molora,
        "medcare-no-share": replace(molora, shared_experts=0),
        "medcare-share": None,
    }[reading]
    base = open_model(base_folder, base_config)
    check_lora(lora, str(lora_path))
    check_base(config, base_config, where=str(folder), base_where=str(base_folder))
    targets = lora_targets(lora, str(lora_path))

    lora_files = stem_files(folder, "adapter_model")
    if targets and not lora_files:
        raise ModelError("no adapter_model.safetensors or adapter_model.bin", where=str(folder))
    experts_path = folder / EXPERTS_FILE
    if not experts_path.is_file():
        raise ModelError(
            f"no {EXPERTS_FILE}: the adapter lacks its experts", where=str(folder), hint="download it again"
        )
    attention, mixture = open_tensors(lora_files), open_tensors([experts_path])
    lora_tensors = {_lora_name(name): tensor for name, tensor in attention.tensors.items()}
    expert_tensors = _expert_names(mixture.tensors)

    def plan(skeleton: Skeleton) -> dict[str, LazyTensor]:
        if any(authors.is_expert_name(name) for name in base.tensors):
            raise ModelError(
                "the base model has experts already", where=base.where, hint="give the plain base model"
            )
        shapes = molora_shapes(skeleton, computed or molora, where=str(folder))
        merged = fitted(base.tensors, skeleton, {}, where=base.where)
        compare(expert_tensors, authors.expected_shapes(skeleton, molora), where=mixture.where)
        linears = _target_linears(skeleton, targets, str(lora_path))
        lora_shapes = _lora_shapes(skeleton, linears, molora.rank)
        compare(lora_tensors, lora_shapes, where=attention.where if lora_files else str(folder))
        for linear in linears:
            merged[f"{linear}.weight"] = merged_lora(
                merged[f"{linear}.weight"],
                lora_tensors[f"{linear}.lora_A.weight"],
                lora_tensors[f"{linear}.lora_B.weight"],
                molora.scaling,
            )
        if computed is not None:
            return merged | authors.stack(expert_tensors, shapes, skeleton, computed)
        alone = replace(molora, rank=molora.shared_rank)
        for linear in skeleton.mlp:
            a, b = (expert_tensors[f"{linear}.share_experts.lora_{factor}.weight"] for factor in "AB")
            merged[f"{linear}.weight"] = merged_lora(merged[f"{linear}.weight"], a, b, alone.scaling)
        return merged

    files = (*base.files, *attention.files, *mixture.files)
    return Checkpoint(reading, folder, architecture(base_config), computed, files, plan, base_folder)


def _target_linears(skeleton: Skeleton, targets: tuple[str, ...], where: str) -> list[str]:
    """Return the linears that carry attention LoRA: those whose last name is a target, in every layer."""
    linears = [
        name
        for name, module in skeleton.model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in targets
    ]
    if unknown := set(targets) - {name.rpartition(".")[2] for name in linears}:
        raise ModelError(
            f"target_modules names no layer of the base model: {', '.join(sorted(unknown))}", where=where
        )
    return linears


def _lora_shapes(skeleton: Skeleton, linears: list[str], rank: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for linear in linears:
        out_features, in_features = skeleton.shapes[f"{linear}.weight"]
        shapes[f"{linear}.lora_A.weight"] = (rank, in_features)
        shapes[f"{linear}.lora_B.weight"] = (out_features, rank)
    return shapes


def _lora_name(name: str) -> str:
    """PEFT's ``base_model.model.<linear>.lora_A[.default].weight`` without what PEFT adds."""
    return name.removeprefix("base_model.model.").replace(".default.weight", ".weight")


def _expert_names(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Strip what wrapping in PEFT put before the names: ``base_model.``, then one ``model.`` of two."""
    stripped = {name.removeprefix("base_model."): tensor for name, tensor in tensors.items()}
    if any(name.startswith("model.model.") for name in stripped):
        return {name.removeprefix("model."): tensor for name, tensor in stripped.items()}
    return stripped
