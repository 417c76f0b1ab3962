"""What identifies a model: digests of its weights, configuration, tokenizer and chat template."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from medbench.common.files import sha256_of
from medbench.errors import ModelError
from medbench.models.checkpoints.chat import clock_formats
from medbench.models.checkpoints.folder import TOKENIZER_FILES, CheckpointSource, read_json
from medbench.models.checkpoints.generation_config import (
    GENERATION_FILE,
    ConfiguredGeneration,
    read_generation_config,
)
from medbench.models.checkpoints.gguf import origin
from medbench.models.checkpoints.layouts import Checkpoint, open_checkpoint

_CONFIGS = ("config.json", GENERATION_FILE, "adapter_config.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fingerprint(
    source: str | Path | CheckpointSource, base: str | Path | None = None, layout: str = "auto"
) -> dict[str, Any]:
    """Identify a checkpoint by its content, wherever it lies, and by how it is read.

    Files are read once per process, as long as their size and time of change stay the same.

    Args:
        source: The checkpoint.
        base: Folder or hub id of the base model, of an adapter.
        layout: ``auto``, or the layout that it must have.

    Returns:
        ``model`` (SHA-256 of the next five: the same if and only if they are), ``layout``, ``weights``,
        ``config``, ``tokenizer``, ``chat_template`` (SHA-256 each, ``None`` where there is none), ``files``
        (name -> ``sha256`` and ``bytes``; those of an adapter's base begin with ``base/``), ``clock``
        (formats in which the chat template asks for the time), ``generation`` (the settings by which answers
        are written, :class:`~medbench.models.checkpoints.generation_config.ConfiguredGeneration`),
        ``revision`` and ``base_revision`` (hub commits, ``None`` for folders that do not come from the hub's
        cache), and ``gguf`` (:func:`~medbench.models.checkpoints.gguf.origin`) where the weights, or an
        adapter's base, come from such a file.

    Raises:
        ModelError: The checkpoint cannot be found or read, or a file differs from what the hub delivered.
    """
    checkpoint = open_checkpoint(CheckpointSource.of(source, base, layout))
    files = {name: _digest(file) for name, file in _files(checkpoint).items()}
    weights = {_label(checkpoint, file) for file in checkpoint.files}
    template = _chat_template(checkpoint.model_folder)
    generation = ConfiguredGeneration.of(read_generation_config(checkpoint.model_folder))
    parts = {
        "layout": checkpoint.layout,
        "weights": _joined(files, [name for name in files if name in weights]),
        "config": _joined(files, [name for name in files if name.removeprefix("base/") in _CONFIGS]),
        "tokenizer": _joined(
            files, [name for name in files if name.removeprefix("base/") in TOKENIZER_FILES]
        ),
        "chat_template": None
        if template is None
        else hashlib.sha256(template.encode("utf-8", "surrogateescape")).hexdigest(),
    }
    gguf = origin(checkpoint.model_folder)
    model = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return {
        "model": model,
        **parts,
        "clock": clock_formats(template or ""),
        "generation": generation.as_dict(),
        "files": files,
        "revision": _commit(checkpoint.folder),
        "base_revision": _commit(checkpoint.base_folder) if checkpoint.base_folder else None,
        **({"gguf": gguf} if gguf else {}),
    }


def _files(checkpoint: Checkpoint) -> dict[str, Path]:
    """Return label -> file, of everything that can change an answer."""
    found = [*checkpoint.files]
    for folder in filter(None, (checkpoint.folder, checkpoint.base_folder)):
        # An adapter's own tokenizer files are not used, but telling them apart here would buy nothing.
        found += [folder / name for name in (*_CONFIGS, *TOKENIZER_FILES) if (folder / name).is_file()]
    return {_label(checkpoint, file): file for file in sorted(found)}


def _label(checkpoint: Checkpoint, file: Path) -> str:
    return f"base/{file.name}" if file.parent == checkpoint.base_folder else file.name


def _joined(files: dict[str, dict[str, Any]], names: list[str]) -> str | None:
    if not names:
        return None
    return hashlib.sha256(
        "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(names)).encode()
    ).hexdigest()


def _chat_template(folder: Path) -> str | None:
    """Return the template's text, whichever of the two places it lies in."""
    template = folder / "chat_template.jinja"
    try:
        if template.is_file():
            return template.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(template)) from error
    config = folder / "tokenizer_config.json"
    value = read_json(config).get("chat_template") if config.is_file() else None
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _digest(file: Path) -> dict[str, Any]:
    try:
        digest, size = sha256_of(file), file.stat().st_size
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(file)) from error
    # The hub's cache calls a large file by its SHA-256.
    stored_as = file.resolve().name
    if file.is_symlink() and _SHA256.fullmatch(stored_as) and stored_as != digest:
        raise ModelError(
            "the file is not what the hub delivered", where=str(file), hint="delete it and download it again"
        )
    return {"sha256": digest, "bytes": size}


def _commit(folder: Path) -> str | None:
    """Return the commit of a snapshot in the hub's cache: ``…/snapshots/<commit>``."""
    return folder.name if folder.parent.name == "snapshots" else None
