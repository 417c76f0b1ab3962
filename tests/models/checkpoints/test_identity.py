"""Fingerprints change with the content and with nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medbench.errors import ModelError
from medbench.models import fingerprint
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, Source
from tests.models.tokenizers import write_tokenizer

PARTS = ("weights", "config", "tokenizer", "chat_template")


@pytest.fixture
def complete(adapter: Source) -> Source:
    assert adapter.base is not None
    write_tokenizer(adapter.base)
    return adapter


def test_it_is_the_same_elsewhere(complete: Source, tmp_path: Path) -> None:
    first = fingerprint(*complete)
    assert first["layout"] == "adapter"
    shutil.copytree(complete.path.parent, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "adapter" / "README.md").write_text("says nothing")
    assert fingerprint(tmp_path / "elsewhere" / "adapter", tmp_path / "elsewhere" / "base") == first


def test_files_are_digested(complete: Source) -> None:
    found = fingerprint(*complete)
    file = complete.path / "non_lora_trainables.bin"
    assert found["files"]["non_lora_trainables.bin"] == {
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "bytes": file.stat().st_size,
    }
    assert "base/model.safetensors" in found["files"]
    assert "base/tokenizer.json" in found["files"]


def _scale(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values())).mul_(2)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s: cp.edit_pickle(s.path / "non_lora_trainables.bin", _scale), {"weights"}),
        (lambda s: cp.edit_safetensors(s.path / "adapter_model.safetensors", _scale), {"weights"}),
        (lambda s: cp.edit_safetensors(s.base / "model.safetensors", _scale), {"weights"}),
        (lambda s: cp.edit_json(s.path / "adapter_config.json", lora_alpha=8), {"config"}),
        (lambda s: cp.edit_json(s.base / "config.json", bos_token_id=3), {"config"}),
        (lambda s: (s.base / "chat_template.jinja").write_text("{{ 1 }}"), {"tokenizer", "chat_template"}),
        (lambda s: cp.edit_json(s.base / "tokenizer_config.json", padding_side="left"), {"tokenizer"}),
    ],
)
def test_every_change_shows(complete: Source, change: Callable[[Source], None], parts: set[str]) -> None:
    before = fingerprint(*complete)
    change(complete)
    after = fingerprint(*complete)
    assert {part for part in PARTS if before[part] != after[part]} == parts
    assert before["model"] != after["model"]


def test_the_template_counts_wherever_it_lies(tmp_path: Path) -> None:
    first, second = (cp.write_base(tmp_path / name, BASES["qwen2"]) for name in ("a", "b"))
    (first / "chat_template.jinja").write_text("{{ messages }}")
    cp.write_json(second / "tokenizer_config.json", {"chat_template": "{{ messages }}"})
    assert fingerprint(first)["chat_template"] == fingerprint(second)["chat_template"] is not None


def test_files_are_read_once(merged: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(merged.path)
    monkeypatch.setattr(hashlib, "sha256", _Counting)
    _Counting.bytes_seen = 0
    assert fingerprint(merged.path) == first
    assert _Counting.bytes_seen < 10_000


class _Counting:
    bytes_seen = 0

    def __init__(self, data: bytes = b"") -> None:
        self.inner = type(self).original(data)
        type(self).bytes_seen += len(data)

    original = staticmethod(hashlib.sha256)

    def update(self, data: bytes) -> None:
        type(self).bytes_seen += len(data)
        self.inner.update(data)

    def hexdigest(self) -> str:
        return self.inner.hexdigest()


def _hub_cache(source: Path, cache: Path) -> Path:
    """Lay a checkpoint out as the hub's cache does: links to files that are called by their digest."""
    snapshot = cache / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for file in source.iterdir():
        blob = cache / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copyfile(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def test_hub_snapshots_know_their_commit_and_damage(merged: Source, tmp_path: Path) -> None:
    snapshot = _hub_cache(merged.path, tmp_path / "cache")
    found = fingerprint(snapshot)
    assert found["revision"] == "c" * 40
    assert found["model"] == fingerprint(merged.path)["model"]
    blob = (snapshot / "model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-5] ^= 1
    blob.write_bytes(content)
    with pytest.raises(ModelError, match="not what the hub delivered"):
        fingerprint(snapshot)
