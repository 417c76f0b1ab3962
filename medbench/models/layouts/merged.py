"""The authors' merged layout: one transformers folder whose MLP linears carry experts.

``AutoModelForCausalLM`` loads such a folder without complaint, drops the experts, and so evaluates the base.
"""

from __future__ import annotations

from pathlib import Path

from medbench.errors import ModelError
from medbench.models.config import MoLoRAConfig, architecture
from medbench.models.folder import read_json
from medbench.models.layouts import authors
from medbench.models.layouts.checkpoint import Checkpoint, check_tied, molora_shapes
from medbench.models.skeleton import Skeleton
from medbench.models.tensors import LazyTensor, compare, open_tensors, stem_files

__all__ = ["read_merged"]


def read_merged(folder: Path) -> Checkpoint:
    """Open a merged checkpoint.

    Raises:
        ModelError: Its configuration asks for unsupported arithmetic, or a file is missing or damaged.
    """
    config_path = folder / "config.json"
    config = read_json(config_path)
    molora = MoLoRAConfig.from_authors(config, config, where=str(config_path), lora_where=str(config_path))
    files = stem_files(folder, "model")
    if not files:
        raise ModelError("no model.safetensors or pytorch_model.bin", where=str(folder))
    opened = open_tensors(files)

    def plan(skeleton: Skeleton) -> dict[str, LazyTensor]:
        shapes = molora_shapes(skeleton, molora, where=str(folder))
        expected = skeleton.shapes | authors.expected_shapes(skeleton, molora)
        compare(opened.tensors, expected, where=opened.where, optional=skeleton.tied)
        check_tied(opened.tensors, skeleton.tied, where=opened.where)
        plain = {name: tensor for name, tensor in opened.tensors.items() if name in skeleton.shapes}
        return plain | authors.stack(opened.tensors, shapes, skeleton, molora)

    return Checkpoint("merged", folder, architecture(config), molora, opened.files, plan)
