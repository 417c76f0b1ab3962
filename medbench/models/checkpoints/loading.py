"""From a checkpoint on disk to a model that runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from torch import Tensor, nn

from medbench.errors import ModelError
from medbench.models.architecture.determinism import prepare_determinism, route_deterministically
from medbench.models.architecture.fused import require_fused
from medbench.models.architecture.impl_choice import choose_impl
from medbench.models.architecture.mixture import Impl, Mixture
from medbench.models.architecture.mixtures import add_molora
from medbench.models.architecture.quantization import quantize, require_quantization
from medbench.models.architecture.skeleton import Skeleton, build_skeleton
from medbench.models.checkpoints.devices import open_device
from medbench.models.checkpoints.folder import CheckpointSource
from medbench.models.checkpoints.generation_config import read_generation_config
from medbench.models.checkpoints.layouts import Checkpoint, open_checkpoint
from medbench.models.checkpoints.layouts.checkpoint import canonical
from medbench.models.checkpoints.layouts.foreign import load_by_transformers, require_finite
from medbench.models.checkpoints.placement import device_map, home_of, install_hooks
from medbench.models.checkpoints.tensors import LazyTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def load_model(
    source: str | Path | CheckpointSource,
    base: str | Path | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    layout: str = "auto",
    impl: str = "auto",
    *,
    mapped: bool = False,
    spread: bool = False,
    quantization: str = "none",
    deterministic: bool = False,
) -> PreTrainedModel:
    """Load a checkpoint in any layout as a transformers causal language model.

    Every tensor is checked by name, shape and finiteness; a checkpoint that does not fit raises, and never
    gives a model with weights left out. One tensor at a time is held beside the model.

    Args:
        source: The checkpoint: its folder, GGUF file or hub id, or all that says which.
        base: Folder or hub id of the base model, which an adapter needs and nothing else takes.
        dtype: ``float32``, ``bfloat16``, ``float16``, ``float64``, or ``auto`` for the one that the
            configuration names.
        device: ``cpu``, ``cuda``, ``cuda:1`` …, or ``auto`` for a GPU if there is one.
        layout: ``auto``, or the layout that the checkpoint must have
            (:data:`medbench.common.choices.LAYOUTS`).
        impl: Form of the MoLoRA arithmetic: ``stacked``, ``fused`` (CUDA with triton), ``loop``, or ``auto``
            for the faster of the first two (:func:`~medbench.models.architecture.impl_choice.choose_impl`).
        mapped: Whether weights on a CPU stay where the files are mapped, as far as the number format is
            theirs: processes that load the same files then hold them once. Nobody may change them meanwhile.
        spread: Whether a model on ``cuda`` is laid over all visible GPUs, layer after layer.
        quantization: ``int8`` or ``nf4`` holds the base weights in 8 or 4 bits (bitsandbytes); ``none``.
        deterministic: Ask for reproducible arithmetic (:mod:`medbench.models.architecture.determinism`), in
            this process from now on, and let every router take the lowest index among equal logits.

    Returns:
        The model in evaluation mode, its parameters frozen; its mixtures are
        :func:`~medbench.models.architecture.molora.molora_linears`.

    Raises:
        ModelError: The checkpoint cannot be found or read, does not fit together, or asks for arithmetic that
            medbench refuses.
    """
    if impl != "auto" and impl not in get_args(Impl):
        raise ModelError(f"unknown impl {impl!r}", hint=f"auto or one of {', '.join(get_args(Impl))}")
    if deterministic:
        prepare_determinism()
    place = open_device(device)
    checkpoint = open_checkpoint(CheckpointSource.of(source, base, layout))
    element = _dtype(dtype, checkpoint)
    require_quantization(quantization, element)
    if quantization != "none" and spread:
        raise ModelError(
            "quantized weights are not spread over several GPUs", hint="one of quantization and spread"
        )
    if impl == "fused" and checkpoint.molora is not None:
        require_fused(place, element, checkpoint.molora)
    # What PEFT merges is rounded once, afterwards.
    merge = checkpoint.merge
    loaded_as = torch.promote_types(element, torch.float32) if merge else element
    skeleton = build_skeleton(
        checkpoint.config, loaded_as, where=str(checkpoint.model_folder / "config.json")
    )
    quantized = quantization != "none"
    places = {
        "": torch.device("cpu") if quantized else place
    }  # they are quantized on the way to their device
    if spread and place.type == "cuda":
        places = device_map(skeleton.model, element, str(checkpoint.folder))
    final = places
    if merge:
        places = {"": torch.device("cpu")}
    if skeleton.converts and checkpoint.molora is None:
        where = str(checkpoint.folder)
        model = load_by_transformers(checkpoint.plan(skeleton), skeleton, loaded_as, where=where)
        _settle(model, places)
        _take_generation_config(model, checkpoint.model_folder)
    else:
        form = cast("Impl", "stacked" if impl == "auto" else impl)
        # PEFT writes into the weights that it merges: those must not be the files that others have mapped.
        model = _fill(checkpoint, skeleton, loaded_as, places, form, mapped=mapped and merge is None)
    if merge:
        model = merge(model)
        _round(model, element, str(checkpoint.folder))
        _settle(model, final)
    if quantized:
        quantize(model, quantization, place)
        nn.Module.to(model, place)
    if deterministic:
        route_deterministically(model)
    if impl == "auto" and not deterministic:  # a choice by the clock
        choose_impl(model)
    model.requires_grad_(False)
    model.train(False)
    return model


def _fill(
    checkpoint: Checkpoint,
    skeleton: Skeleton,
    dtype: torch.dtype,
    places: Mapping[str, Any],
    impl: Impl,
    *,
    mapped: bool,
) -> PreTrainedModel:
    plan = checkpoint.plan(skeleton)
    model = skeleton.model
    where = str(checkpoint.folder)

    def take(name: str) -> Tensor:
        return _materialize(name, plan[name], dtype, home_of(name, places), where, mapped=mapped)

    for name in skeleton.shapes:
        if name not in skeleton.tied:
            _assign(model, name, take(name))
    if checkpoint.molora is not None:
        add_molora(model, checkpoint.molora, impl)
        for name, module in model.named_modules():
            if isinstance(module, Mixture):
                module.fill({part: take(canonical(name, part)) for part in module.parts()})
    model.tie_weights()
    _settle(model, places)
    _take_generation_config(model, checkpoint.model_folder)
    return model


def _round(model: PreTrainedModel, dtype: torch.dtype, where: str) -> None:
    """Round the parameters to an element type, but for those that the architecture keeps in float32."""
    kept = {*(model._keep_in_fp32_modules_strict or ())}
    if dtype == torch.float16:
        kept |= {*(model._keep_in_fp32_modules or ())}
    for name, parameter in model.named_parameters():
        if not kept & set(name.split(".")):
            parameter.data = parameter.data.to(dtype)
        require_finite(name, parameter, where)
    model.config.dtype = dtype


def _settle(model: PreTrainedModel, places: Mapping[str, Any]) -> None:
    """Move what is not there yet (buffers) to its device."""
    if len(places) == 1:
        nn.Module.to(model, places[""])
    else:
        install_hooks(model, places)


def _materialize(
    name: str, tensor: LazyTensor, dtype: torch.dtype, device: torch.device, where: str, *, mapped: bool
) -> Tensor:
    """Read a tensor in the model's element type, into memory of its own unless it may stay mapped."""
    value = tensor.read().to(device=device, dtype=dtype, copy=not mapped)
    require_finite(name, value, where)
    return value


def _assign(model: nn.Module, name: str, value: Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=False))


def _take_generation_config(model: PreTrainedModel, folder: Path) -> None:
    if (found := read_generation_config(folder)) is not None:
        model.generation_config = found


def _dtype(name: str, checkpoint: Checkpoint) -> torch.dtype:
    if name == "auto":
        config = checkpoint.config
        name = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    if name not in DTYPES:
        raise ModelError(f"unknown dtype {name!r}", hint=f"auto or one of {', '.join(DTYPES)}")
    return DTYPES[name]
