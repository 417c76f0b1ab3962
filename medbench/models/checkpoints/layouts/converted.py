"""medbench's own layout: safetensors with stacked experts, and a model_type that no other tool mistakes.

``config.json``::

    {"model_type": "molora", "molora_format": 1, "molora": {"molora_count": 8, …}, "base_config": {…}}

``"origin": "ming-moe"`` stands beside them where the checkpoint was converted from a layout of the authors.
Tensors have their canonical names. Each safetensors header carries the CRC-32 of every tensor, which is
checked as the tensor is read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.skeleton import Skeleton
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint, molora_shapes
from medbench.models.checkpoints.layouts.fitting import fitted
from medbench.models.checkpoints.tensors import LazyTensor, open_tensors, stem_files

MODEL_TYPE = "molora"
FORMAT = 1
CHECKSUMS = "medbench_crc32"
_OF_AUTHORS = "ming-moe"


def converted_config(
    base_config: dict[str, Any], molora: MoLoRAConfig, *, of_authors: bool
) -> dict[str, Any]:
    """Return the contents of a converted checkpoint's ``config.json``.

    Args:
        base_config: Configuration of the base architecture.
        molora: Shape of the mixtures.
        of_authors: Whether it was converted from a layout of MING-MOE's authors.
    """
    return {
        "model_type": MODEL_TYPE,
        "molora_format": FORMAT,
        "molora": molora.to_converted(),
        "base_config": base_config,
        **({"origin": _OF_AUTHORS} if of_authors else {}),
    }


def names_authors(config: Mapping[str, Any]) -> bool:
    """Whether a converted checkpoint's ``config.json`` says that it comes from the authors' layouts."""
    return bool(config.get("origin") == _OF_AUTHORS)


def checksum(tensor: Tensor) -> int:
    """Return the CRC-32 of a tensor's bytes, in row-major order."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(cast("Any", flat.numpy()))


def read_converted(folder: Path) -> Checkpoint:
    """Open a converted checkpoint.

    Raises:
        ModelError: It was written by a newer medbench, or a file is missing or damaged.
    """
    where = str(folder / "config.json")
    config = read_json(folder / "config.json")
    if config.get("molora_format") != FORMAT:
        raise ModelError(
            f"molora_format is {config.get('molora_format')!r}, this version reads {FORMAT}",
            where=where,
            hint="convert the original checkpoint again, or update medbench",
        )
    base_config = config.get("base_config")
    if not isinstance(base_config, dict):
        raise ModelError("the section `base_config` is missing", where=where)
    molora = MoLoRAConfig.from_converted(config.get("molora"), where=where)
    files = stem_files(folder, "model")
    if not files:
        raise ModelError("no model.safetensors", where=str(folder))
    opened = open_tensors(files)
    checksums = _checksums(opened.metadata, opened.where)

    def plan(skeleton: Skeleton) -> dict[str, LazyTensor]:
        verified = {
            name: _verified(name, tensor, checksums.get(name), opened.where)
            for name, tensor in opened.tensors.items()
        }
        experts = molora_shapes(skeleton, molora, where=str(folder))
        return fitted(verified, skeleton, experts, where=opened.where)

    return Checkpoint("converted", folder, dict(base_config), molora, opened.files, plan)


def _checksums(metadata: dict[str, str], where: str) -> dict[str, int]:
    merged: dict[str, int] = {}
    for key, text in metadata.items():
        if not key.startswith(CHECKSUMS):
            continue
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ModelError("the checksums in the header are damaged", where=where) from error
        if not isinstance(values, dict):
            raise ModelError("the checksums in the header are damaged", where=where)
        merged |= values
    return merged


def _verified(name: str, tensor: LazyTensor, expected: int | None, where: str) -> LazyTensor:
    def read() -> Tensor:
        value = tensor.read()
        if checksum(value) != expected:
            raise ModelError(
                f"damaged: the checksum of {name} is wrong", where=where, hint="convert or download it again"
            )
        return value

    return LazyTensor(tensor.shape, tensor.dtype, read)
