"""The layouts in which checkpoints lie on disk, a module each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from medbench.common.choices import READINGS, LayoutName
from medbench.errors import ModelError
from medbench.models.architecture.config import AUTHORS_KEYS
from medbench.models.checkpoints.folder import CheckpointSource, read_json, resolve
from medbench.models.checkpoints.gguf import MARKER
from medbench.models.checkpoints.layouts import authors
from medbench.models.checkpoints.layouts.adapter import EXPERTS_FILE, read_adapter
from medbench.models.checkpoints.layouts.checkpoint import Checkpoint
from medbench.models.checkpoints.layouts.converted import MODEL_TYPE, names_authors, read_converted
from medbench.models.checkpoints.layouts.loramoe import EXPERTS_KEY, read_hydralora, read_loramoe, shares_a
from medbench.models.checkpoints.layouts.merged import read_merged
from medbench.models.checkpoints.layouts.mixlora import read_mixlora
from medbench.models.checkpoints.layouts.moe_peft import read_mola
from medbench.models.checkpoints.layouts.peft import read_peft
from medbench.models.checkpoints.layouts.plain import read_plain
from medbench.models.checkpoints.tensors import open_tensors, stem_files

__all__ = [
    "Checkpoint",
    "LayoutName",
    "base_of",
    "detect_layout",
    "is_of_authors",
    "open_checkpoint",
]

_EXPLAINED: dict[LayoutName, str] = {
    "adapter": "an adapter, which needs its base model",
    "medcare-no-share": "an adapter of MedCare without its shared experts",
    "medcare-share": "an adapter of MedCare with its shared experts only",
    "merged": "a merged MoLoRA checkpoint; read as a plain model it would lose its experts without a word",
    "converted": "a converted MoLoRA checkpoint",
    "loramoe": "an adapter of LoRAMoE, which needs its base model",
    "hydralora": "an adapter of HydraLoRA, which needs its base model",
    "mola": "an adapter of MoLA, which needs its base model",
    "mixlora": "an adapter of MixLoRA, which needs its base model",
    "mixlora-0.2.3": "an adapter of MixLoRA, read as mixlora 0.2.3 does",
    "mixlora-moe-peft": "an adapter of MixLoRA, read as MoE-PEFT does",
    "peft": "an adapter of PEFT without experts, which needs its base model",
    "gguf": "a plain model from a GGUF file",
    "plain": "a plain model without experts",
}

# Any of these in the config.json beside an adapter tells the authors' from PEFT's. The one left out is in the
# configurations of transformers' own mixtures too.
_OF_AUTHORS = AUTHORS_KEYS - {"num_experts"}


# Formats that name themselves.
_PEFT_TYPES: dict[str, LayoutName] = {"LORAMOE": "loramoe", "MIXLORA": "mixlora", "MOLA": "mola"}

_ADAPTERS: dict[LayoutName, Callable[[Path, Path], Checkpoint]] = {
    "adapter": read_adapter,
    "medcare-no-share": partial(read_adapter, reading="medcare-no-share"),
    "medcare-share": partial(read_adapter, reading="medcare-share"),
    "loramoe": read_loramoe,
    "hydralora": read_hydralora,
    "mola": read_mola,
    "mixlora": read_mixlora,
    "mixlora-0.2.3": partial(read_mixlora, reading="mixlora-0.2.3"),
    "mixlora-moe-peft": partial(read_mixlora, reading="mixlora-moe-peft"),
    "peft": read_peft,
}


def detect_layout(folder: Path) -> LayoutName:
    """Tell the layout of a checkpoint from its files.

    Raises:
        ModelError: The folder holds no checkpoint, or a file that decides is damaged.
    """
    if (folder / EXPERTS_FILE).is_file():
        return "adapter"
    if (folder / "adapter_config.json").is_file():
        return _adapter_layout(folder)
    if (folder / MARKER).is_file():
        return "gguf"
    config = read_json(folder / "config.json")
    if config.get("model_type") == MODEL_TYPE:
        return "converted"
    # A folder whose configuration speaks of experts but whose files have none lost them: `merged` says so.
    return "merged" if authors.speaks_of_experts(config) or _has_experts(folder) else "plain"


def _adapter_layout(folder: Path) -> LayoutName:
    config = read_json(folder / "adapter_config.json")
    kind = config.get("peft_type")
    if isinstance(kind, str) and kind in _PEFT_TYPES:
        return _PEFT_TYPES[kind]
    if config.get(EXPERTS_KEY) is not None:
        return "hydralora" if shares_a(folder) else "loramoe"
    # One whose configuration speaks of experts has lost their file: `adapter` says so.
    own = folder / "config.json"
    return "adapter" if own.is_file() and _OF_AUTHORS & read_json(own).keys() else "peft"


def _has_experts(folder: Path) -> bool:
    tensors = open_tensors(stem_files(folder, "model"), verify=False).tensors
    return any(authors.is_expert_name(name) for name in tensors)


def is_of_authors(folder: Path) -> bool:
    """Whether a checkpoint is in a layout of MING-MOE's authors, or was converted from one.

    Raises:
        ModelError: The folder holds no checkpoint, or a file that decides is damaged.
    """
    layout = detect_layout(folder)
    if layout == "adapter":
        return (folder / EXPERTS_FILE).is_file()
    return layout == "merged" or (layout == "converted" and names_authors(read_json(folder / "config.json")))


def open_checkpoint(source: CheckpointSource) -> Checkpoint:
    """Open a checkpoint without reading its tensors.

    Raises:
        ModelError: It cannot be found, is not what ``layout`` says, lacks its base, or is damaged.
    """
    layout, base = source.layout, source.base
    if layout not in ("auto", *get_args(LayoutName)):
        raise ModelError(f"unknown layout {layout!r}", hint=f"auto, {', '.join(get_args(LayoutName))}")
    folder = source.folder()
    found = detect_layout(folder)
    if (found, layout) == ("merged", "plain") and not _has_experts(folder):
        found = "plain"  # whoever asks for it knows that the experts were lost
    if layout in READINGS.get(found, ()):
        found = layout
    if layout not in ("auto", found):
        raise ModelError(
            f"asked for layout {layout}, but this is {_EXPLAINED[found]}",
            where=str(source.path),
            hint=f"use layout {found} or auto",
        )
    if found in _ADAPTERS:
        return _ADAPTERS[found](folder, base_of(folder, found, source))
    if base is not None:
        raise ModelError(
            f"a base model was given, but this is {_EXPLAINED[found]}",
            where=str(source.path),
            hint="leave the base out",
        )
    if found == "gguf":
        return replace(read_plain(folder), layout="gguf")
    readers = {"merged": read_merged, "converted": read_converted, "plain": read_plain}
    return readers[found](folder)


def base_of(folder: Path, layout: LayoutName, source: CheckpointSource) -> Path:
    """Find the folder of an adapter's base model.

    Args:
        folder: The adapter.
        layout: Its layout; an adapter of PEFT may name a folder for its base itself.
        source: Which base was given.

    Raises:
        ModelError: It is not given, cannot be found, or is no plain model.
    """
    base = source.base
    named = read_json(folder / "adapter_config.json").get("base_model_name_or_path") if base is None else None
    if layout == "peft" and isinstance(named, str) and Path(named).is_dir():
        base = named
    if base is None:
        raise ModelError(
            "an adapter needs its base model",
            where=str(folder),
            hint=f"give it as base; the adapter was trained on {named!r}" if named else "give it as base",
        )
    base_folder = resolve(base, source.base_revision)
    if (found := detect_layout(base_folder)) not in ("plain", "gguf"):
        raise ModelError(
            f"the base must be a plain model, but this is {_EXPLAINED[found]}", where=str(base_folder)
        )
    return base_folder
