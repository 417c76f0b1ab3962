"""Plain causal language models, the baselines: an ordinary transformers folder."""

from __future__ import annotations

from pathlib import Path

from medbench.errors import ModelError
from medbench.models.folder import read_json
from medbench.models.layouts.checkpoint import Checkpoint, check_tied
from medbench.models.skeleton import Skeleton
from medbench.models.tensors import LazyTensor, compare, open_tensors, stem_files

__all__ = ["read_plain"]


def read_plain(folder: Path) -> Checkpoint:
    """Open a plain checkpoint.

    Raises:
        ModelError: A file is missing or damaged.
    """
    config = read_json(folder / "config.json")
    files = stem_files(folder, "model")
    if not files:
        raise ModelError("no model.safetensors or pytorch_model.bin", where=str(folder))
    opened = open_tensors(files)

    def plan(skeleton: Skeleton) -> dict[str, LazyTensor]:
        if not skeleton.mlp:
            # Only transformers knows how such an architecture's names on disk become its parameters.
            return dict(opened.tensors)
        compare(opened.tensors, skeleton.shapes, where=opened.where, optional=skeleton.tied)
        check_tied(opened.tensors, skeleton.tied, where=opened.where)
        return dict(opened.tensors)

    return Checkpoint("plain", folder, config, None, opened.files, plan)
