"""Which of a folder's files are its weights, and what may lie beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from medbench.models import fingerprint, load_model
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, GPT2, Source, refused

_IDS = torch.tensor([[3, 1, 4, 1, 5]])


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return tensors


def _put(folder: Path, kind: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write a set of weights in one of the forms that a folder may hold them in."""
    is_safe, is_single = kind.startswith("safe"), kind.endswith("single")
    stem, ending = ("model", ".safetensors") if is_safe else ("pytorch_model", ".bin")
    names = sorted(tensors)
    parts = {f"{stem}{ending}": names} if is_single else {f"{stem}-{i}{ending}": names[i::2] for i in (0, 1)}
    for file, part in parts.items():
        held = {name: tensors[name].clone() for name in part}
        if is_safe:
            save_file(held, folder / file, metadata={"format": "pt"})
        else:
            torch.save(held, folder / file)
    if not is_single:
        weight_map = {name: file for file, part in parts.items() for name in part}
        cp.write_json(folder / f"{stem}{ending}.index.json", {"metadata": {}, "weight_map": weight_map})


_KINDS = ("safe single", "safe shards", "pickle single", "pickle shards")


@pytest.mark.parametrize("config", [BASES["qwen2"], GPT2], ids=["qwen2", "gpt2"])
@pytest.mark.parametrize("kinds", [(a, b) for a in _KINDS for b in _KINDS if a != b], ids="+".join)
def test_of_two_sets_of_weights_transformers_choice_is_loaded(
    tmp_path: Path, config: dict[str, Any], kinds: tuple[str, str]
) -> None:
    from transformers import AutoConfig

    folder, auto = tmp_path / "m", cast("Any", AutoModelForCausalLM)
    for seed, kind in enumerate(kinds):
        torch.manual_seed(seed)
        model = auto.from_config(AutoConfig.for_model(**config))
        tensors = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
        if not seed:
            model.config.save_pretrained(folder)
        if not model.config.tie_word_embeddings:
            tensors["lm_head.weight"] = model.lm_head.weight.detach()
        _put(folder, kind, tensors)
    loaded = load_model(folder)
    expected = auto.from_pretrained(folder)
    assert torch.equal(loaded(_IDS).logits, expected(_IDS).logits)
    # What is fingerprinted is what was loaded: of all four kinds the first that is there.
    chosen = min(kinds, key=_KINDS.index)
    stem, ending = ("model", ".safetensors") if chosen.startswith("safe") else ("pytorch_model", ".bin")
    files = {f"{stem}{ending}"} if chosen.endswith("single") else {f"{stem}-0{ending}", f"{stem}-1{ending}"}
    assert {name for name in fingerprint(folder)["files"] if name.endswith((".safetensors", ".bin"))} == files


def test_only_variants(tmp_path: Path) -> None:
    folder = cp.write_base(tmp_path / "m", BASES["qwen2"])
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    error = refused(Source(folder), r"no model\.safetensors or pytorch_model\.bin")
    assert "model.fp16.safetensors" in str(error.hint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized with gptq"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantized with awq"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantized with fp8"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "quantized with mxfp4"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantized with bitsandbytes"),
        (
            {"quantization_config": {"quant_method": "compressed-tensors"}},
            "quantized with compressed-tensors",
        ),
        ({"quantization_config": {"bits": 4}}, "quantized with an unnamed method"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights names the file"),
    ],
)
@pytest.mark.parametrize("layout", ["plain", "merged", "adapter"])
def test_weights_that_are_not_loaded(
    tmp_path: Path, layout: str, changes: dict[str, Any], message: str
) -> None:
    if layout == "plain":
        source = Source(cp.write_base(tmp_path / "m", BASES["qwen2"]))
    elif layout == "merged":
        source = Source(cp.write_merged(tmp_path / "m", BASES["qwen2"]))
    else:
        source = cp.write_adapter(tmp_path / "m", BASES["qwen2"])
    cp.edit_json((source.base or source.path) / "config.json", **changes)
    refused(source, message)


def test_packed_weights_without_a_word_in_the_configuration(tmp_path: Path) -> None:
    folder = cp.write_base(tmp_path / "m", BASES["qwen2"])

    def pack(tensors: dict[str, torch.Tensor]) -> None:
        name = "model.layers.0.mlp.up_proj.weight"
        tensors[name.replace("weight", "qweight")] = tensors.pop(name).to(torch.int32)

    cp.edit_safetensors(folder / "model.safetensors", pack)
    refused(Source(folder), r"quantized with a method that stores .*up_proj\.qweight")


@pytest.mark.parametrize(
    "name",
    [
        "v_head.summary.weight",
        "v_head.summary.bias",
        "mtp.fc.weight",
        "model.mtp.layers.0.mlp.weight",
    ],
)
@pytest.mark.parametrize("layout", ["plain", "merged", "gpt2"])
def test_what_training_leaves_behind_is_not_used(tmp_path: Path, layout: str, name: str) -> None:
    folder = tmp_path / "m"
    if layout == "merged":
        cp.write_merged(folder, BASES["qwen2"])
    elif layout == "plain":
        cp.write_base(folder, BASES["qwen2"])
    else:
        from transformers import GPT2Config, GPT2LMHeadModel

        GPT2LMHeadModel(GPT2Config(**GPT2)).save_pretrained(folder)
    before = load_model(folder)(_IDS).logits
    cp.edit_safetensors(folder / "model.safetensors", lambda tensors: tensors.update({name: torch.ones(2)}))
    assert torch.equal(load_model(folder)(_IDS).logits, before)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.o_proj.bias", "model.embed_positions.weight", "model.layers.2.x", "mtp"],
)
@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_any_other_tensor_to_spare_is_refused(tmp_path: Path, architecture: str, name: str) -> None:
    folder = tmp_path / "m"
    if architecture == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        GPT2LMHeadModel(GPT2Config(**GPT2)).save_pretrained(folder)
    else:
        cp.write_base(folder, BASES["qwen2"])
    cp.edit_safetensors(folder / "model.safetensors", lambda tensors: tensors.update({name: torch.ones(2)}))
    refused(Source(folder), "no place for|unexpected tensors")


@pytest.mark.parametrize("layout", ["plain", "merged", "adapter"])
def test_a_tied_model_stored_under_its_head_alone(tmp_path: Path, layout: str) -> None:
    config = {**BASES["qwen2"], "tie_word_embeddings": True}
    if layout == "plain":
        source = Source(cp.write_base(tmp_path / "m", config))
    elif layout == "merged":
        source = Source(cp.write_merged(tmp_path / "m", config))
    else:
        source = cp.write_adapter(tmp_path / "m", config)
    before = load_model(*source)(_IDS).logits

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        tensors.pop("lm_head.weight", None)
        tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")

    cp.edit_safetensors((source.base or source.path) / "model.safetensors", rename)
    assert torch.equal(load_model(*source)(_IDS).logits, before)


@pytest.mark.parametrize("key", ["r", "use_rslora", "num_experts_per_token"])
def test_a_merged_configuration_without_what_the_files_or_old_defaults_say(tmp_path: Path, key: str) -> None:
    source = Source(cp.write_merged(tmp_path / "m", BASES["qwen2"]))
    before = load_model(*source)(_IDS).logits
    cp.edit_json(source.path / "config.json", **{key: None})
    assert torch.equal(load_model(*source)(_IDS).logits, before)


def test_both_spellings_of_the_best_experts(merged: Source) -> None:
    before = load_model(*merged)(_IDS).logits
    cp.edit_json(merged.path / "config.json", expert_selection="topk")
    assert torch.equal(load_model(*merged)(_IDS).logits, before)
