"""Files of checkpoints: missing, damaged, hostile."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import convert, load_model
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, Source, refused


def test_paths_that_lead_nowhere(tmp_path: Path, merged: Source) -> None:
    refused(Source(tmp_path / "absent"), "no such folder")
    refused(Source(merged.path / "config.json"), "a checkpoint is a folder")
    (tmp_path / "empty").mkdir()
    refused(Source(tmp_path / "empty"), r"no config\.json")
    cp.write_json(tmp_path / "empty" / "config.json", BASES["qwen2"])
    refused(Source(tmp_path / "empty"), r"no model\.safetensors")


def test_a_hub_id_without_a_network_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="the hub cannot be reached") as caught:
        load_model("nobody/no-such-checkpoint")
    assert "hf download nobody/no-such-checkpoint" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"model_type": ' * 100_000, "\udcff"])
def test_configurations_that_are_no_json(merged: Source, text: str) -> None:
    (merged.path / "config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    refused(merged, "JSON")


class _Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_a_pickle_that_would_run_code(adapter: Source, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"x": _Hostile(trace)}, adapter.path / "non_lora_trainables.bin")
    refused(adapter, "no pickle of plain tensors")
    (adapter.path / "non_lora_trainables.bin").write_bytes(pickle.dumps(_Hostile(trace), protocol=2))
    refused(adapter, "no pickle of plain tensors|damaged")
    assert not trace.exists()


@pytest.mark.parametrize(
    "value", [[torch.ones(2)], {"a": {"b": torch.ones(2)}}, {3: torch.ones(2)}, torch.ones(2)]
)
def test_a_pickle_of_something_else(adapter: Source, value: Any) -> None:
    torch.save(value, adapter.path / "non_lora_trainables.bin")
    refused(adapter, "expected a mapping of tensors|no plain tensor")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "no weight_map"),
        ({"weight_map": {}}, "names no files"),
        ({"weight_map": {"a": 3}}, "no weight_map"),
        ({"weight_map": {"a": "../other.safetensors"}}, "outside the folder"),
        ({"weight_map": {"a": "model-00009.safetensors"}}, "the file model-00009.safetensors is missing"),
    ],
)
def test_indexes_that_are_wrong(merged: Source, index: dict[str, Any], message: str) -> None:
    (merged.path / "model.safetensors").unlink()
    cp.write_json(merged.path / "model.safetensors.index.json", index)
    refused(merged, message)


def test_two_files_with_the_same_tensor(merged: Source) -> None:
    file = merged.path / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors, merged.path / "model-1.safetensors")
    save_file({"model.norm.weight": tensors["model.norm.weight"]}, merged.path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    cp.write_json(merged.path / "model.safetensors.index.json", index)
    file.unlink()
    refused(merged, r"another file of the checkpoint has too: model\.norm\.weight")


def test_a_safetensors_header_that_lies(merged: Source) -> None:
    file = merged.path / "model.safetensors"
    header = json.dumps(
        {"model.norm.weight": {"dtype": "F32", "shape": [16], "data_offsets": [0, 10**9]}}
    ).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    refused(merged, "damaged or truncated")
    file.write_bytes((2**62).to_bytes(8, "little") + header)
    refused(merged, "damaged or truncated")


def _state(source: Source) -> dict[str, Tensor]:
    return dict(load_model(*source).state_dict())


def _error_or_same(source: Source, reference: dict[str, Tensor]) -> bool:
    """Whether loading failed properly; otherwise the weights must be the original ones."""
    try:
        state = _state(source)
    except ModelError:
        return True
    assert state.keys() == reference.keys()
    assert all(torch.equal(tensor, reference[name]) for name, tensor in state.items())
    return False


_FILES = {
    "experts": "adapter/non_lora_trainables.bin",
    "attention": "adapter/adapter_model.safetensors",
    "base": "base/model.safetensors",
}


@pytest.mark.parametrize("name", _FILES)
def test_truncated_files(tmp_path: Path, adapter: Source, name: str) -> None:
    file = adapter.path.parent / _FILES[name]
    content = file.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.9, 0.999):
        file.write_bytes(content[: int(len(content) * share)])
        refused(adapter, "damaged|truncated|JSON|mapping of tensors")
    file.write_bytes(content)
    load_model(*adapter)


def test_flipped_bits_in_the_experts(adapter: Source) -> None:
    """The pickle's container has checksums, so that a flip anywhere is found or has no effect."""
    reference = _state(adapter)
    file = adapter.path / "non_lora_trainables.bin"
    content = file.read_bytes()
    draw = random.Random(11)
    failures = 0
    for _ in range(40):
        file.write_bytes(_flipped(content, draw.randrange(len(content) * 8)))
        failures += _error_or_same(adapter, reference)
    assert failures >= 20


def test_flipped_bits_in_a_converted_checkpoint(tmp_path: Path, adapter: Source) -> None:
    converted = Source(convert(adapter.path, tmp_path / "converted", adapter.base))
    reference = _state(converted)
    file = converted.path / "model.safetensors"
    content = file.read_bytes()
    draw = random.Random(12)
    header = 8 + int.from_bytes(content[:8], "little")
    positions = [draw.randrange(header * 8) for _ in range(20)]
    positions += [draw.randrange(header * 8, len(content) * 8) for _ in range(20)]
    failures = 0
    for position in positions:
        file.write_bytes(_flipped(content, position))
        failures += _error_or_same(converted, reference)
    assert failures >= 20


def test_flipped_bits_in_a_foreign_header(merged: Source) -> None:
    """Foreign safetensors carry no checksums; a header that makes no sense is an error all the same."""
    file = merged.path / "model.safetensors"
    content = file.read_bytes()
    draw = random.Random(13)
    header = 8 + int.from_bytes(content[:8], "little")
    failures = 0
    for _ in range(30):
        file.write_bytes(_flipped(content, draw.randrange(header * 8)))
        try:
            load_model(*merged)
        except ModelError:
            failures += 1
    assert failures >= 25


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
