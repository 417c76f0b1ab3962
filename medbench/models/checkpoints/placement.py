"""A model too large for one GPU: its layers on several, one after the other.

Which layer goes where is accelerate's ``device_map``, and so are the hooks that carry hidden states from one
device to the next. What only the engine knows, such as masks, follows them (:meth:`Pack.on`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from medbench.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def device_map(model: PreTrainedModel, dtype: torch.dtype, where: str) -> dict[str, Any]:
    """Decide on a device for every part of an empty model, all visible GPUs about equally full.

    Raises:
        ModelError: They do not hold it.
    """
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = list(getattr(model, "_no_split_modules", None) or [])
    memory = get_balanced_memory(model, dtype=dtype, no_split_module_classes=whole)
    places: dict[str, Any] = infer_auto_device_map(
        model, max_memory=memory, no_split_module_classes=whole, dtype=dtype
    )
    if {"cpu", "disk"} & {str(place) for place in places.values()}:
        raise ModelError(
            f"the model does not fit on {torch.cuda.device_count()} GPUs",
            where=where,
            hint="more of them with --gpus-per-worker, or a narrower number format",
        )
    return places


def home_of(name: str, places: Mapping[str, Any]) -> torch.device:
    """The device of a parameter: that of the longest part of the model that holds it."""
    part = name
    while part not in places:
        if not part:
            raise ModelError(f"the device map has no place for {name}")
        part = part.rpartition(".")[0]
    place = places[part]
    return torch.device("cuda", place) if isinstance(place, int) else torch.device(place)


def install_hooks(model: PreTrainedModel, places: Mapping[str, Any]) -> None:
    """Let hidden states move from device to device."""
    from accelerate import dispatch_model

    dispatch_model(model, device_map=dict(places), force_hooks=True)
