"""Plain causal language models, the baselines: an ordinary transformers folder."""

from __future__ import annotations

from pathlib import Path

from medbench.models.architecture.config import architecture
from medbench.models.architecture.skeleton import Skeleton
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts import authors
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint
from medbench.models.checkpoints.layouts.fitting import fitted
from medbench.models.checkpoints.layouts.foreign import fitted_by_transformers
from medbench.models.checkpoints.layouts.opening import open_model
from medbench.models.checkpoints.tensors import LazyTensor


def read_plain(folder: Path) -> Checkpoint:
    """Open a plain checkpoint.

    Raises:
        ModelError: A file is missing or damaged.
    """
    config = read_json(folder / "config.json")
    opened = open_model(folder, config)
    if authors.speaks_of_experts(config):  # of experts that the folder has lost
        config = architecture(config)

    def plan(skeleton: Skeleton) -> dict[str, LazyTensor]:
        if skeleton.converts:
            return fitted_by_transformers(opened.tensors, skeleton, where=opened.where)
        return fitted(opened.tensors, skeleton, {}, where=opened.where)

    return Checkpoint("plain", folder, config, None, opened.files, plan)
