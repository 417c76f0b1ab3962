"""Our own layout: nothing is lost on the way there, and nothing half-written stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from medbench.errors import ModelError
from medbench.models import (
    MoLoRAConfig,
    add_molora,
    convert,
    load_model,
    load_tokenizer,
    molora_linears,
    save_converted,
)
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, GOLDEN_CASES, Source, golden, refused
from tests.models.tokenizers import write_tokenizer


def _same(first: Source, second: Source, dtype: str = "float32") -> bool:
    one, other = (load_model(*source, dtype=dtype).state_dict() for source in (first, second))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("layout", ["adapter", "merged"])
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_golden_checkpoints_come_back_bit_for_bit(
    shared: Path, tmp_path: Path, case: str, layout: str
) -> None:
    source = golden(shared, case, layout)
    converted = Source(convert(source.path, tmp_path / "converted", source.base))
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        assert _same(source, converted, dtype)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_16_bit_sources_come_back_bit_for_bit(tmp_path: Path, stored: torch.dtype) -> None:
    source = cp.write_adapter(tmp_path / "a", BASES["qwen2"])
    assert source.base is not None
    for file in (source.base / "model.safetensors", source.path / "adapter_model.safetensors"):
        save_file({name: tensor.to(stored) for name, tensor in load_file(file).items()}, file)
    converted = Source(convert(source.path, tmp_path / "converted", source.base))
    for dtype in ("float32", "bfloat16", "float16"):
        assert _same(source, converted, dtype)
    with safe_open(converted.path / "model.safetensors", "pt") as file:
        assert file.get_tensor("model.norm.weight").dtype == stored
        assert file.get_tensor("model.layers.0.self_attn.q_proj.weight").dtype == torch.float32


@pytest.mark.parametrize("architecture", BASES)
@pytest.mark.parametrize("experts", [1, 3])
def test_shards(tmp_path: Path, architecture: str, experts: int) -> None:
    molora = MoLoRAConfig(experts, min(2, experts), 2, 4)
    source = Source(cp.write_merged(tmp_path / "m", BASES[architecture], molora))
    converted = Source(convert(source.path, tmp_path / "converted", shard_bytes=4000))
    files = sorted(file.name for file in converted.path.glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert _same(source, converted)
    index = cp.read_json(converted.path / "model.safetensors.index.json")
    assert index["metadata"]["total_size"] == sum(
        tensor.nbytes for file in files for tensor in load_file(converted.path / file).values()
    )


def test_a_chosen_dtype_saves_space(tmp_path: Path) -> None:
    source = cp.write_adapter(tmp_path / "a", BASES["qwen2"])
    converted = Source(convert(source.path, tmp_path / "c", source.base, dtype=torch.bfloat16))
    assert {t.dtype for t in load_file(converted.path / "model.safetensors").values()} == {torch.bfloat16}
    assert _same(source, converted, "bfloat16")


def test_names_that_no_other_engine_takes_for_experts(tmp_path: Path) -> None:
    source = Source(cp.write_merged(tmp_path / "m", BASES["qwen2"]))
    folder = convert(source.path, tmp_path / "c")
    text = (folder / "config.json").read_text() + " ".join(load_file(folder / "model.safetensors"))
    assert "expert" not in text
    assert cp.read_json(folder / "config.json")["model_type"] == "molora"


def test_no_trace_of_where_it_was_made(tmp_path: Path) -> None:
    folder = cp.write_merged(tmp_path / "m", {**BASES["qwen2"], "_name_or_path": "/home/somebody/base"})
    assert "somebody" not in (convert(folder, tmp_path / "c") / "config.json").read_text()


def test_converting_again_changes_nothing(tmp_path: Path) -> None:
    first = convert(cp.write_merged(tmp_path / "m", BASES["qwen2"]), tmp_path / "first")
    second = convert(first, tmp_path / "second")
    assert sorted(file.name for file in first.iterdir()) == sorted(file.name for file in second.iterdir())
    assert (first / "config.json").read_bytes() == (second / "config.json").read_bytes()
    assert _same(Source(first), Source(second))


def test_tokenizer_and_generation_settings_are_copied_from_the_base(tmp_path: Path) -> None:
    source = cp.write_adapter(tmp_path / "a", BASES["qwen2"])
    assert source.base is not None
    write_tokenizer(source.base)
    cp.write_json(source.base / "generation_config.json", {"eos_token_id": 7})
    folder = convert(source.path, tmp_path / "c", source.base)
    text = "good morning"
    tokenizer: Any = load_tokenizer(folder)
    original: Any = load_tokenizer(*source)
    assert tokenizer.encode(text) == original.encode(text)
    assert tokenizer.chat_template == original.chat_template
    config = load_model(folder).generation_config
    assert config is not None
    assert config.eos_token_id == 7


def test_a_trained_model_is_saved_and_comes_back(tmp_path: Path) -> None:
    base = load_model(cp.write_base(tmp_path / "base", BASES["qwen3"]))
    molora = MoLoRAConfig(4, 2, 3, 6, use_rslora=True)
    add_molora(base, molora)
    for module in molora_linears(base):
        with torch.no_grad():
            module.molora_b.normal_()
            assert module.molora_in_bias is not None
            module.molora_in_bias[12:].normal_()
    folder = save_converted(base, tmp_path / "saved", write_tokenizer(tmp_path / "tokenizer"))
    loaded = load_model(folder)
    assert {module.config for module in molora_linears(loaded)} == {molora}
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        assert torch.equal(base(ids).logits, loaded(ids).logits)
    assert load_tokenizer(folder) is not None


def test_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no experts to convert"):
        convert(cp.write_base(tmp_path / "b", BASES["qwen2"]), tmp_path / "c")
    with pytest.raises(ModelError, match="no experts to save"):
        save_converted(load_model(tmp_path / "b"), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = cp.write_merged(tmp_path / "m", BASES["qwen2"])
    (tmp_path / "c").mkdir()
    with pytest.raises(ModelError, match="exists already"):
        convert(source, tmp_path / "c")


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    source = cp.write_merged(tmp_path / "m", BASES["qwen2"])
    cp.edit_safetensors(source / "model.safetensors", lambda t: t["lm_head.weight"].fill_(float("inf")))
    with pytest.raises(ModelError, match="not finite"):
        convert(source, tmp_path / "out" / "c")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_destination_that_cannot_be_written(tmp_path: Path) -> None:
    source = cp.write_merged(tmp_path / "m", BASES["qwen2"])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot write"):
        convert(source, tmp_path / "file" / "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"molora_format": 2}, "molora_format is 2, this version reads 1"),
        ({"base_config": None}, "section `base_config` is missing"),
        ({"molora": None}, "section `molora` is missing"),
        ({"molora": {"molora_count": 4}}, "molora_top_k is None"),
        ({"molora": {"experts": 4}}, "unknown keys in the section `molora`: experts"),
    ],
)
def test_converted_configurations(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = convert(cp.write_merged(tmp_path / "m", BASES["qwen2"]), tmp_path / "c")
    cp.edit_json(folder / "config.json", **change)
    refused(Source(folder), message)


def test_converted_tensors_need_their_checksums(tmp_path: Path) -> None:
    folder = convert(cp.write_merged(tmp_path / "m", BASES["qwen2"]), tmp_path / "c")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors, file)
    refused(Source(folder), "checksum of .* is wrong")
    save_file(tensors, file, metadata={"medbench_crc32.00001": json.dumps([1])})
    refused(Source(folder), "checksums in the header are damaged")
