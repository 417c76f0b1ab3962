"""Into medbench's own layout: from any MoLoRA checkpoint, or from a model in memory."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medbench.common.files import reason, write_folder
from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.mixture import Mixture
from medbench.models.architecture.skeleton import build_skeleton
from medbench.models.checkpoints.folder import TOKENIZER_FILES, CheckpointSource
from medbench.models.checkpoints.layouts import Checkpoint, is_of_authors, open_checkpoint
from medbench.models.checkpoints.layouts.checkpoint import canonical
from medbench.models.checkpoints.layouts.converted import CHECKSUMS, checksum, converted_config
from medbench.models.checkpoints.tensors import LazyTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_COPIED = ("generation_config.json", *TOKENIZER_FILES)
_SHARD_BYTES = 4 * 2**30


def convert(
    source: str | Path | CheckpointSource,
    destination: str | Path,
    base: str | Path | None = None,
    *,
    layout: str = "auto",
    dtype: torch.dtype | None = None,
    shard_bytes: int = _SHARD_BYTES,
) -> Path:
    """Write a MoLoRA checkpoint in medbench's own layout.

    Tensors keep their element types, except that merged attention weights are float32 where the base's are
    shorter: so the result loads to the same bits as the source, in every dtype. The folder appears only when
    it is complete.

    Args:
        source: A checkpoint with experts.
        destination: Folder to write; must not exist.
        base: Base model of an adapter.
        layout: ``auto``, or the layout that the source must have.
        dtype: Store everything in this element type instead, to save space.
        shard_bytes: Largest size of one file of tensors.

    Returns:
        The destination.

    Raises:
        ModelError: The source cannot be read or has no experts, or the destination cannot be written.
    """
    checkpoint = open_checkpoint(CheckpointSource.of(source, base, layout))
    if checkpoint.molora is None:
        raise ModelError(
            f"a checkpoint of layout {checkpoint.layout} has no experts to convert",
            where=str(checkpoint.folder),
            hint="evaluate it as it is",
        )
    where = str(checkpoint.model_folder / "config.json")
    skeleton = build_skeleton(checkpoint.config, torch.float32, where=where)
    plan = {name: tensor for name, tensor in checkpoint.plan(skeleton).items() if name not in skeleton.tied}
    with _written(Path(destination)) as folder:
        _write_tensors(folder, plan, dtype, shard_bytes)
        of_authors = is_of_authors(checkpoint.folder)
        _write_config(folder, checkpoint.config, checkpoint.molora, of_authors=of_authors)
        _copy_companions(checkpoint, folder)
    return Path(destination)


def save_converted(model: PreTrainedModel, destination: str | Path, tokenizer: Any = None) -> Path:
    """Write a model with mixtures of LoRA experts, such as a freshly trained one, in medbench's own layout.

    Args:
        model: A model from :func:`~medbench.models.checkpoints.loading.load_model`, or one that
            :func:`~medbench.models.architecture.mixtures.add_molora` was applied to.
        destination: Folder to write; must not exist.
        tokenizer: Its tokenizer, written too.

    Raises:
        ModelError: The model has no mixtures, or the destination cannot be written.
    """
    mixtures = {name: module for name, module in model.named_modules() if isinstance(module, Mixture)}
    if not mixtures:
        raise ModelError("the model has no experts to save", where=type(model).__name__)
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        owner = next((one for one in mixtures if name.startswith(f"{one}.")), None)
        if owner is None:
            tensors[name] = parameter
        elif name.startswith(f"{owner}.base."):
            tensors[f"{owner}.{name.removeprefix(f'{owner}.base.')}"] = parameter
    for name, module in mixtures.items():
        tensors |= {canonical(name, part): tensor for part, tensor in module.parts().items()}
    config = next(iter(mixtures.values())).config
    plan = {name: _lazy(tensor) for name, tensor in tensors.items()}
    with _written(Path(destination)) as folder:
        _write_tensors(folder, plan, None, _SHARD_BYTES)
        _write_config(folder, model.config.to_diff_dict(), config, of_authors=False)
        if model.generation_config is not None:
            model.generation_config.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    return Path(destination)


def _lazy(tensor: Tensor) -> LazyTensor:
    return LazyTensor(tuple(tensor.shape), tensor.dtype, lambda: tensor.detach())


@contextmanager
def _written(destination: Path) -> Iterator[Path]:
    """Give a folder beside the destination, and rename it into place if all went well."""
    if destination.exists():
        raise ModelError(
            "the destination exists already", where=str(destination), hint="choose another folder"
        )
    try:
        with write_folder(destination) as folder:
            yield folder
    except OSError as error:
        raise ModelError(f"cannot write: {reason(error)}", where=str(destination)) from error


def _write_config(folder: Path, config: Mapping[str, Any], molora: MoLoRAConfig, *, of_authors: bool) -> None:
    contents = converted_config(dict(config), molora, of_authors=of_authors)
    text = json.dumps(contents, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "config.json").write_text(f"{text}\n", encoding="utf-8")


def _copy_companions(checkpoint: Checkpoint, folder: Path) -> None:
    for name in _COPIED:
        if (checkpoint.model_folder / name).is_file():
            shutil.copyfile(checkpoint.model_folder / name, folder / name)


def _write_tensors(
    folder: Path, plan: Mapping[str, LazyTensor], dtype: torch.dtype | None, shard_bytes: int
) -> None:
    shards = _shards(plan, dtype, shard_bytes)
    single = len(shards) == 1
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = "model.safetensors" if single else f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {name: _stored(name, plan[name], dtype, str(folder)) for name in names}
        _save_shard(tensors, folder / file, number)
        weight_map |= dict.fromkeys(names, file)
    if not single:
        index = {"metadata": {"total_size": _bytes(plan, dtype, plan)}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _save_shard(tensors: dict[str, Tensor], path: Path, number: int) -> None:
    from safetensors.torch import save_file

    sums = json.dumps({name: checksum(tensor) for name, tensor in tensors.items()})
    save_file(tensors, path, metadata={"format": "pt", f"{CHECKSUMS}.{number:05}": sums})


def _stored(name: str, tensor: LazyTensor, dtype: torch.dtype | None, where: str) -> Tensor:
    value = tensor.read()
    # A copy, because safetensors refuses tensors that share memory, as views of a mapped file do.
    value = value.to(dtype or value.dtype).clone(memory_format=torch.contiguous_format)
    if not bool(torch.isfinite(value).all()):
        raise ModelError(f"{name} has values that are not finite in {value.dtype}", where=where)
    return value


def _shards(plan: Mapping[str, LazyTensor], dtype: torch.dtype | None, limit: int) -> list[list[str]]:
    """Divide the names, in their order, into files of at most ``limit`` bytes, one tensor at least."""
    shards: list[list[str]] = [[]]
    size = 0
    for name in plan:
        grown = size + _bytes(plan, dtype, [name])
        if grown > limit and shards[-1]:
            shards.append([])
            grown = _bytes(plan, dtype, [name])
        shards[-1].append(name)
        size = grown
    return shards


def _bytes(plan: Mapping[str, LazyTensor], dtype: torch.dtype | None, names: Any) -> int:
    return sum(math.prod(plan[name].shape) * (dtype or plan[name].dtype).itemsize for name in names)
