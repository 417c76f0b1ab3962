"""Adapters with a mixture of LoRA experts in front of single linears, whatever they name their tensors.

Plain LoRA beside the experts, as in attention, is merged into the base's weights as these are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbench.common.choices import PROJECTIONS, LayoutName, Projection
from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig, architecture
from medbench.models.architecture.skeleton import LinearPlace, Skeleton, find_linears
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts.authors import concatenated
from medbench.models.checkpoints.layouts.checkpoint import (
    Checkpoint,
    molora_shapes,
)
from medbench.models.checkpoints.layouts.fitting import fitted
from medbench.models.checkpoints.layouts.lora_config import lora_targets
from medbench.models.checkpoints.layouts.merging import merged_lora
from medbench.models.checkpoints.layouts.opening import open_model
from medbench.models.checkpoints.tensors import LazyTensor, TensorFiles, compare, open_tensors, stem_files

#: Of a linear with experts: canonical name -> the file's names of the tensors that it consists of, expert 0
#: first.
Names = Callable[[LinearPlace], Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class PlainLoRA:
    """LoRA beside the experts.

    Attributes:
        projections: The linears that carry it.
        rank: Its rank.
        scaling: Factor on ``B A``.
        names: The file's names of A and B at a linear.
    """

    projections: tuple[Projection, ...]
    rank: int
    scaling: float
    names: Callable[[LinearPlace], tuple[str, str]]


def adapter_tensors(folder: Path) -> TensorFiles:
    """Open the tensors of an adapter.

    Raises:
        ModelError: There are none.
    """
    files = stem_files(folder, "adapter_model")
    if not files:
        raise ModelError("no adapter_model.safetensors or adapter_model.bin", where=str(folder))
    return open_tensors(files)


def projections_of(config: Mapping[str, Any], where: str) -> tuple[Projection, ...]:
    """Return the linears that ``target_modules`` names.

    Raises:
        ModelError: It is no list of names, is empty, or names others than those of a decoder layer.
    """
    targets = lora_targets(config, where)
    known: dict[str, Projection] = {f"{projection}_proj": projection for projection in PROJECTIONS}
    if not targets or not set(targets) <= known.keys():
        raise ModelError(
            f"target_modules is {list(targets)!r}", where=where, hint=f"some of {', '.join(known)}"
        )
    return tuple(projection for name, projection in known.items() if name in targets)


def read_experts(
    folder: Path,
    base_folder: Path,
    layout: LayoutName,
    molora: MoLoRAConfig,
    names: Names,
    lora: PlainLoRA | None = None,
) -> Checkpoint:
    """Open an adapter and its base.

    Args:
        folder: The adapter.
        base_folder: The base model.
        layout: The adapter's layout.
        molora: Shape of its mixtures.
        names: What it names their tensors.
        lora: Plain LoRA beside them.

    Raises:
        ModelError: A file is missing or damaged.
    """
    base_config = read_json(base_folder / "config.json")
    base, adapter = open_model(base_folder, base_config), adapter_tensors(folder)

    def plan(skeleton: Skeleton) -> dict[str, LazyTensor]:
        shapes = molora_shapes(skeleton, molora, where=str(folder))
        tensors = fitted(base.tensors, skeleton, {}, where=base.where)
        plain = find_linears(skeleton.model, lora.projections) if lora and lora.projections else []
        named: dict[str, Sequence[str]] = {}
        for place in find_linears(skeleton.model, molora.projections):
            named |= names(place)
        expected: dict[str, tuple[int, ...]] = {}
        for name, found in named.items():
            expected |= dict.fromkeys(found, _share(shapes[name], len(found), _dim(name)))
        for place in plain:
            assert lora is not None
            out_features, in_features = place.linear.weight.shape
            first, second = lora.names(place)
            expected |= {first: (lora.rank, in_features), second: (out_features, lora.rank)}
        compare(adapter.tensors, expected, where=adapter.where)
        for place in plain:
            assert lora is not None
            a, b = (adapter.tensors[name] for name in lora.names(place))
            weight = f"{place.name}.weight"
            tensors[weight] = merged_lora(tensors[weight], a, b, lora.scaling)
        for name, found in named.items():
            parts = [adapter.tensors[one] for one in found]
            tensors[name] = parts[0] if len(parts) == 1 else concatenated(parts, _dim(name), shapes[name])
        return tensors

    files = (*base.files, *adapter.files)
    return Checkpoint(layout, folder, architecture(base_config), molora, files, plan, base_folder)


def _dim(name: str) -> int:
    """Along which dimension experts lie: columns of B side by side, all others one above the other."""
    return int(name.endswith("_b"))


def _share(shape: tuple[int, ...], number: int, dim: int) -> tuple[int, ...]:
    """The shape of one of the tensors that a canonical one consists of."""
    return tuple(size // number if place == dim else size for place, size in enumerate(shape))
