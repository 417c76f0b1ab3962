"""The authors' merged layout: one transformers folder whose MLP linears carry experts.

``AutoModelForCausalLM`` loads such a folder without complaint, drops the experts, and so evaluates the base.
"""

from __future__ import annotations

from pathlib import Path

from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig, architecture
from medbench.models.architecture.skeleton import Skeleton
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts import authors
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint, molora_shapes
from medbench.models.checkpoints.layouts.fitting import fitted
from medbench.models.checkpoints.layouts.opening import open_model
from medbench.models.checkpoints.tensors import LazyTensor


def read_merged(folder: Path) -> Checkpoint:
    """Open a merged checkpoint.

    Raises:
        ModelError: Its configuration asks for unsupported arithmetic, or a file is missing or damaged.
    """
    config_path = folder / "config.json"
    config = read_json(config_path)
    opened = open_model(folder, config)
    if not any(authors.is_expert_name(name) for name in opened.tensors):
        raise ModelError(
            "the configuration speaks of experts, but the files have none: they were lost when it was saved",
            where=opened.where,
            hint="layout plain evaluates what is left",
        )
    # Tools that save a configuration anew drop keys that they do not know; the files show the rank.
    keys = config if config.get("r") is not None else {**config, "r": authors.rank_of(opened.tensors)}
    molora = MoLoRAConfig.from_authors(config, keys, where=str(config_path), lora_where=str(config_path))

    def plan(skeleton: Skeleton) -> dict[str, LazyTensor]:
        shapes = molora_shapes(skeleton, molora, where=str(folder))
        found = fitted(
            opened.tensors, skeleton, authors.expected_shapes(skeleton, molora), where=opened.where
        )
        plain = {name: tensor for name, tensor in found.items() if name in skeleton.shapes}
        return plain | authors.stack(found, shapes, skeleton, molora)

    return Checkpoint("merged", folder, architecture(config), molora, opened.files, plan)
