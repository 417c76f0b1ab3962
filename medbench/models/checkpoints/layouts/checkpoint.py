"""What every layout is read into: canonical names and lazily read tensors.

Canonical names are those of the base architecture, plus for each linear with experts::

    <linear>.molora_a            [E*r, in]     rows of expert 0 first; [r, in] if all experts share one A
    <linear>.molora_b            [out, E*r]    columns of expert 0 first
    <linear>.molora_router       [E, in]       absent with one expert
    <linear>.molora_router_bias  [E]           absent with one expert, or if routers have none
    <linear>.molora_shared_a     [r*n, in]     of experts that every token passes
    <linear>.molora_shared_b     [out, r*n]

Where experts are whole MLPs, one router stands beside their linears: ``<mlp>.molora_router`` [E, hidden].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.common.choices import PROJECTIONS, LayoutName
from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.skeleton import Skeleton, find_linears
from medbench.models.checkpoints.tensors import LazyTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint whose tensors have not been read.

    Attributes:
        layout: How it lies on disk.
        folder: Where it lies.
        base_folder: Where the base model lies, of an adapter.
        merge: Merges the rest of the checkpoint into the model that holds the planned tensors in float32 at
            least, where PEFT does that.
        config: Configuration of the base architecture, without the keys of the experts.
        molora: Shape of the mixtures; ``None`` for a plain model.
        files: The tensor files.
        plan: Maps the model's skeleton to canonical names and tensors, refusing whatever does not fit.
    """

    layout: LayoutName
    folder: Path
    config: dict[str, Any]
    molora: MoLoRAConfig | None
    files: tuple[Path, ...]
    plan: Callable[[Skeleton], dict[str, LazyTensor]] = field(repr=False)
    base_folder: Path | None = None
    merge: Callable[[PreTrainedModel], PreTrainedModel] | None = field(default=None, repr=False)

    @property
    def model_folder(self) -> Path:
        """The folder with the generation settings and the tokenizer: the base's, of an adapter."""
        return self.base_folder or self.folder


def canonical(module: str, part: str) -> str:
    """Canonical name of a part of a mixture, as ``Mixture.parts`` names it, by the name of its module."""
    linear, _, factor = part.rpartition("_")
    if linear in PROJECTIONS:  # of a linear inside the module
        return f"{module}.{linear}_proj.molora_{factor}"
    return f"{module}.molora_{part}"


def molora_shapes(skeleton: Skeleton, config: MoLoRAConfig, *, where: str) -> dict[str, tuple[int, ...]]:
    """Return canonical name -> shape of the tensors of all mixtures.

    Raises:
        ModelError: The architecture has no linears to put experts at.
    """
    try:
        places = find_linears(skeleton.model, config.projections)
    except ModelError as error:
        raise ModelError(
            f"{type(skeleton.model).__name__}: {error.what}", where=where, hint=error.hint
        ) from error
    shapes: dict[str, tuple[int, ...]] = {}
    rows = config.num_experts * config.rank
    for place in places:
        out_features, in_features = place.linear.weight.shape
        shapes[canonical(place.name, "a")] = (config.rank if config.shared_a else rows, in_features)
        shapes[canonical(place.name, "b")] = (out_features, rows)
        if config.shared_experts:
            shapes[canonical(place.name, "shared_a")] = (config.shared_rank, in_features)
            shapes[canonical(place.name, "shared_b")] = (out_features, config.shared_rank)
        if not config.has_router:
            continue
        if config.block:
            mlp = place.name.rpartition(".")[0]
            hidden = skeleton.shapes[f"{mlp}.gate_proj.weight"][1]
            shapes[canonical(mlp, "router")] = (config.num_experts, hidden)
            continue
        shapes[canonical(place.name, "router")] = (config.num_experts, in_features)
        if config.router_bias:
            shapes[canonical(place.name, "router_bias")] = (config.num_experts,)
    return shapes
