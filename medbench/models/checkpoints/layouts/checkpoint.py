"""What every layout is read into: canonical names and lazily read tensors.

Canonical names are those of the base architecture, plus for each MLP linear::

    <linear>.molora_a            [E*r, in]     rows of expert 0 first
    <linear>.molora_b            [out, E*r]    columns of expert 0 first
    <linear>.molora_router       [E, in]       absent with one expert
    <linear>.molora_router_bias  [E]           absent with one expert
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.skeleton import Skeleton
from medbench.models.checkpoints.tensors import LazyTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Checkpoint", "LayoutName", "Linears", "molora_shapes"]

LayoutName = Literal["adapter", "merged", "converted", "peft", "gguf", "plain"]


class Linears(NamedTuple):
    """Canonical names of one mixture's tensors."""

    a: str
    b: str
    router: str
    router_bias: str

    @classmethod
    def of(cls, linear: str) -> Linears:
        """Name the tensors of the mixture at a linear."""
        return cls(
            f"{linear}.molora_a",
            f"{linear}.molora_b",
            f"{linear}.molora_router",
            f"{linear}.molora_router_bias",
        )


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


def molora_shapes(skeleton: Skeleton, config: MoLoRAConfig, *, where: str) -> dict[str, tuple[int, ...]]:
    """Return canonical name -> shape of the tensors of all mixtures.

    Raises:
        ModelError: The architecture has no MLP projections to put experts at.
    """
    if not skeleton.mlp:
        raise ModelError(
            f"{type(skeleton.model).__name__} has no MLP with linear gate_proj, up_proj and down_proj",
            where=where,
            hint="MoLoRA experts need a dense base such as Qwen2, Llama, Qwen3 or Mistral",
        )
    shapes: dict[str, tuple[int, ...]] = {}
    rows = config.num_experts * config.rank
    for name, place in skeleton.mlp.items():
        names = Linears.of(name)
        out_features, in_features = place.linear.weight.shape
        shapes[names.a] = (rows, in_features)
        shapes[names.b] = (out_features, rows)
        if config.has_router:
            shapes[names.router] = (config.num_experts, in_features)
            shapes[names.router_bias] = (config.num_experts,)
    return shapes
