"""The layouts in which checkpoints lie on disk, a module each."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from medbench.errors import ModelError
from medbench.models.folder import read_json, resolve
from medbench.models.layouts import authors
from medbench.models.layouts.adapter import EXPERTS_FILE, read_adapter
from medbench.models.layouts.checkpoint import Checkpoint, LayoutName, Linears
from medbench.models.layouts.converted import MODEL_TYPE, names_authors, read_converted
from medbench.models.layouts.merged import read_merged
from medbench.models.layouts.plain import read_plain
from medbench.models.tensors import open_tensors, stem_files

__all__ = ["Checkpoint", "LayoutName", "Linears", "detect_layout", "is_of_authors", "open_checkpoint"]

_EXPLAINED: dict[LayoutName, str] = {
    "adapter": "an adapter, which needs its base model",
    "merged": "a merged MoLoRA checkpoint; read as a plain model it would lose its experts without a word",
    "converted": "a converted MoLoRA checkpoint",
    "plain": "a plain model without experts",
}


def detect_layout(folder: Path) -> LayoutName:
    """Tell the layout of a checkpoint from its files.

    Raises:
        ModelError: The folder holds no checkpoint, or a file that decides is damaged.
    """
    if (folder / "adapter_config.json").is_file() or (folder / EXPERTS_FILE).is_file():
        return "adapter"
    config = read_json(folder / "config.json")
    if config.get("model_type") == MODEL_TYPE:
        return "converted"
    # A folder whose configuration speaks of experts but whose files have none lost them: `merged` says so.
    return "merged" if authors.speaks_of_experts(config) or _has_experts(folder) else "plain"


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


def open_checkpoint(
    path: str | Path,
    base: str | Path | None = None,
    layout: str = "auto",
    *,
    revision: str | None = None,
    base_revision: str | None = None,
) -> Checkpoint:
    """Open a checkpoint without reading its tensors.

    Args:
        path: Folder or hub id.
        base: Folder or hub id of the base model, for an adapter only.
        layout: ``auto``, or the layout that it must have.
        revision: Revision of ``path`` on the hub.
        base_revision: Revision of ``base`` on the hub.

    Raises:
        ModelError: The checkpoint cannot be found, is not what ``layout`` says, lacks its base, or is
            damaged.
    """
    if layout not in ("auto", *get_args(LayoutName)):
        raise ModelError(f"unknown layout {layout!r}", hint=f"auto, {', '.join(get_args(LayoutName))}")
    folder = resolve(path, revision)
    found = detect_layout(folder)
    if (found, layout) == ("merged", "plain") and not _has_experts(folder):
        found = "plain"  # whoever asks for it knows that the experts were lost
    if layout not in ("auto", found):
        raise ModelError(
            f"asked for layout {layout}, but this is {_EXPLAINED[found]}",
            where=str(path),
            hint=f"use layout {found} or auto",
        )
    if found == "adapter":
        return _open_adapter(folder, base, base_revision)
    if base is not None:
        raise ModelError(
            f"a base model was given, but this is {_EXPLAINED[found]}",
            where=str(path),
            hint="leave the base out",
        )
    readers = {"merged": read_merged, "converted": read_converted, "plain": read_plain}
    return readers[found](folder)


def _open_adapter(folder: Path, base: str | Path | None, base_revision: str | None) -> Checkpoint:
    if base is None:
        named = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise ModelError(
            "an adapter needs its base model",
            where=str(folder),
            hint=f"give it as base; the adapter was trained on {named!r}" if named else "give it as base",
        )
    base_folder = resolve(base, base_revision)
    if (found := detect_layout(base_folder)) != "plain":
        raise ModelError(
            f"the base must be a plain model, but this is {_EXPLAINED[found]}", where=str(base_folder)
        )
    return read_adapter(folder, base_folder)
