"""Adapters of PEFT without experts, such as LoRA, DoRA or PiSSA: PEFT itself merges them into their base.

The base is loaded by medbench in float32, PEFT merges the adapter, and the result is rounded once to the
number format asked for. PEFT passes over what it has no place for or finds nothing for; here the tensors that
it holds must be those of the file, all of them and no others.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from medbench.errors import ModelError
from medbench.models.architecture.skeleton import Skeleton, build_skeleton, foreign_failures
from medbench.models.checkpoints.folder import read_json
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint
from medbench.models.checkpoints.layouts.plain import read_plain
from medbench.models.checkpoints.tensors import LazyTensor, TensorFiles, compare, open_tensors, stem_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Kinds that PEFT merges, by their value of peft_type.
_MERGED = (
    "LORA",
    "LOHA",
    "LOKR",
    "IA3",
    "OFT",
    "BOFT",
    "HRA",
    "VERA",
    "FOURIERFT",
    "BONE",
    "MISS",
    "RANDLORA",
)
_OFF: tuple[Any, ...] = (None, False, {}, [], "")


def read_peft(folder: Path, base_folder: Path) -> Checkpoint:
    """Open an adapter and its base.

    Raises:
        ModelError: PEFT does not know or does not merge the adapter, or a file is missing or damaged.
    """
    where = str(folder / "adapter_config.json")
    settings = read_json(folder / "adapter_config.json")
    _check_settings(settings, where)
    base = read_plain(base_folder)
    files = stem_files(folder, "adapter_model")
    if not files:
        raise ModelError("no adapter_model.safetensors or adapter_model.bin", where=str(folder))
    adapter = open_tensors(files)

    def plan(skeleton: Skeleton) -> dict[str, LazyTensor]:
        tensors = base.plan(skeleton)
        compare(adapter.tensors, _expected(base, folder), where=adapter.where)
        return tensors

    def merge(model: PreTrainedModel) -> PreTrainedModel:
        return _merged(model, folder, adapter)

    return Checkpoint(
        "peft", folder, base.config, None, (*base.files, *adapter.files), plan, base_folder, merge=merge
    )


def _check_settings(settings: Mapping[str, Any], where: str) -> None:
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = settings.get("peft_type")
    if kind not in _MERGED:
        raise ModelError(
            f"peft_type is {kind!r}, which medbench does not merge",
            where=where,
            hint=f"one of {', '.join(_MERGED)}",
        )
    if settings.get("task_type") not in ("CAUSAL_LM", None):
        raise ModelError(f"task_type is {settings['task_type']!r}, expected CAUSAL_LM", where=where)
    if settings.get("layer_replication"):
        raise ModelError("layer_replication makes a model of other layers than its base", where=where)
    start = settings.get("init_lora_weights")
    if isinstance(start, str) and start.startswith("pissa_niter"):
        raise ModelError(
            f"init_lora_weights is {start!r}: PEFT takes a randomized decomposition out of the base, "
            "another one in every process",
            where=where,
            hint="save it as plain LoRA: save_pretrained(…, path_initial_model_for_weight_conversion=…)",
        )
    # Tools that mix experts call their adapters LORA too, and differ in keys that PEFT would pass over.
    known = {field.name for field in dataclasses.fields(cast("Any", PEFT_TYPE_TO_CONFIG_MAPPING[kind]))}
    for key, value in settings.items():
        if key not in known and value not in _OFF:
            raise ModelError(f"{key} is {value!r}, a key that PEFT does not know", where=where)


def _expected(base: Checkpoint, folder: Path) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the tensors that PEFT would hold for the adapter."""
    from peft import PeftConfig, get_peft_model

    with _foreign("PEFT cannot read the adapter", folder):
        config: Any = PeftConfig.from_pretrained(str(folder))
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = False  # which needs no values of the base
    where = str(base.folder / "config.json")
    model: Any = build_skeleton(base.config, torch.float32, where=where).model
    with _foreign("PEFT cannot apply the adapter", folder), torch.device("meta"):
        model = get_peft_model(model, config, low_cpu_mem_usage=True)
    return {name: tuple(tensor.shape) for name, tensor in _held(model).items()}


def _merged(model: PreTrainedModel, folder: Path, adapter: TensorFiles) -> PreTrainedModel:
    from peft import PeftModel

    shapes = _shapes(model)
    # PEFT initializes what the file then replaces; the caller's random numbers stay as they are.
    with _foreign("PEFT cannot merge the adapter", folder), torch.random.fork_rng(devices=[]):
        adapted: Any = PeftModel.from_pretrained(cast("Any", model), str(folder), local_files_only=True)
        held = _held(adapted)
        for name, tensor in adapter.tensors.items():
            if name not in held or not torch.equal(held[name], tensor.read().to(held[name].dtype)):
                raise ModelError(f"PEFT did not take over {name}", where=adapter.where)
        merged: PreTrainedModel = adapted.merge_and_unload()
    if (now := _shapes(merged)) != shapes:
        names = sorted(name for name in now.keys() | shapes.keys() if now.get(name) != shapes.get(name))
        raise ModelError(f"merging changed the shape of the model: {', '.join(names[:4])}", where=str(folder))
    return merged


@contextmanager
def _foreign(what: str, folder: Path) -> Iterator[None]:
    """Turn PEFT's errors into ours, and keep its warnings, of which the checks here are the better ones."""
    with foreign_failures(what, str(folder)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _held(model: Any) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    tensors: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return tensors


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.named_parameters(remove_duplicate=False)}
