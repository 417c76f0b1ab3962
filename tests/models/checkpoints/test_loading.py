"""Checkpoints of every layout and base, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import MoLoRAConfig, convert, load_model, molora_linears
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, GPT2, Source

IDS = torch.tensor([[3, 14, 15, 9, 2, 6, 5, 35]])


def _logits(source: Source, **kwargs: Any) -> Tensor:
    model = load_model(source.path, source.base, **kwargs)
    with torch.no_grad():
        logits: Tensor = model(IDS).logits[0].double()
    return logits


@pytest.mark.parametrize("architecture", BASES)
def test_every_base_loads_in_every_layout(tmp_path: Path, architecture: str) -> None:
    source = cp.write_adapter(tmp_path / "adapter", BASES[architecture])
    reference = _logits(source, impl="loop", dtype="float64")
    converted = Source(convert(source.path, tmp_path / "converted", source.base))
    assert torch.equal(_logits(source), _logits(converted))
    torch.testing.assert_close(_logits(source), reference, rtol=0, atol=2e-4)
    plain = _logits(Source(cp.write_base(tmp_path / "plain", BASES[architecture])))
    assert (plain - reference).abs().max() > 0.1
    merged = Source(cp.write_merged(tmp_path / "merged", BASES[architecture]))
    torch.testing.assert_close(_logits(merged), _logits(merged, impl="loop"), rtol=0, atol=2e-4)


@pytest.mark.parametrize("architecture", BASES)
def test_a_plain_model_is_what_transformers_loads(tmp_path: Path, architecture: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = cp.write_base(tmp_path / "plain", BASES[architecture])
    theirs: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(_logits(Source(folder)), theirs(IDS).logits[0].double())


def test_an_architecture_without_gated_mlp_loads_as_plain_only(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    theirs = auto.from_config(AutoConfig.for_model(**GPT2)).eval()
    theirs.save_pretrained(tmp_path / "gpt2")
    with torch.no_grad():
        torch.testing.assert_close(_logits(Source(tmp_path / "gpt2")), theirs(IDS).logits[0].double())
    cp.edit_json(tmp_path / "gpt2" / "config.json", expert_selection="top_k", r=2, lora_alpha=4)
    with pytest.raises(ModelError, match="the files have none"):
        load_model(tmp_path / "gpt2")


def test_adapter_arithmetic_by_hand(adapter: Source) -> None:
    """W + alpha/r * B A for attention; experts in the order of their numbers."""
    model = load_model(*adapter)
    base = load_file(adapter.base / "model.safetensors")  # type: ignore[operator]
    lora = load_file(adapter.path / "adapter_model.safetensors")
    name = "model.layers.1.self_attn.k_proj"
    a = lora[f"base_model.model.{name}.lora_A.weight"]
    b = lora[f"base_model.model.{name}.lora_B.weight"]
    torch.testing.assert_close(
        model.get_parameter(f"{name}.weight"), base[f"{name}.weight"] + 2.0 * (b @ a), rtol=0, atol=1e-6
    )
    experts = torch.load(adapter.path / "non_lora_trainables.bin", weights_only=True)
    module = molora_linears(model)[5]
    assert (module.layer, module.projection) == (1, "down")
    for i in range(4):
        rows, prefix = slice(2 * i, 2 * i + 2), f"base_model.model.model.layers.1.mlp.down_proj.experts.{i}"
        assert torch.equal(module.lora_a[rows], experts[f"{prefix}.lora_A_{i}.weight"])
        assert torch.equal(module.lora_b[:, rows], experts[f"{prefix}.lora_B_{i}.weight"])


def test_rslora_scales_attention_and_experts(tmp_path: Path) -> None:
    config = MoLoRAConfig(4, 2, 4, 8, use_rslora=True)
    source = cp.write_adapter(tmp_path / "a", BASES["qwen2"], config)
    model = load_model(*source)
    assert {module.scaling for module in molora_linears(model)} == {4.0}
    base = load_file(source.base / "model.safetensors")  # type: ignore[operator]
    lora = load_file(source.path / "adapter_model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    delta = lora[f"base_model.model.{name}.lora_B.weight"] @ lora[f"base_model.model.{name}.lora_A.weight"]
    torch.testing.assert_close(
        model.get_parameter(f"{name}.weight"), base[f"{name}.weight"] + 4.0 * delta, rtol=0, atol=1e-6
    )


def test_merged_attention_is_rounded_once(tmp_path: Path) -> None:
    """bfloat16 weights are the float32 sum rounded, not the sum of rounded terms."""
    source = cp.write_adapter(tmp_path / "a", BASES["qwen2"])
    full, short = load_model(*source), load_model(*source, dtype="bfloat16")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(short.get_parameter(name), full.get_parameter(name).bfloat16())


def test_one_expert_has_no_router(tmp_path: Path) -> None:
    config = MoLoRAConfig(1, 1, 3, 6)
    source = cp.write_adapter(tmp_path / "a", BASES["qwen2"], config)
    assert not any("switch" in name for name in torch.load(source.path / "non_lora_trainables.bin"))
    torch.testing.assert_close(
        _logits(source), _logits(source, impl="loop", dtype="float64"), rtol=0, atol=2e-4
    )
    assert all(module.router_weight is None for module in molora_linears(load_model(*source)))


def test_old_configurations_mean_four_experts_top_two(tmp_path: Path) -> None:
    source = cp.write_adapter(tmp_path / "a", BASES["qwen2"])
    reference = _logits(source)
    cp.edit_json(
        source.path / "config.json",
        num_experts=None,
        num_experts_per_token=None,
        expert_selection=None,
        share_expert=None,
        use_rslora=None,
    )
    assert torch.equal(_logits(source), reference)
    assert {(m.num_experts, m.top_k) for m in molora_linears(load_model(*source))} == {(4, 2)}


def test_shards_and_pickles_of_the_base(adapter: Source) -> None:
    assert adapter.base is not None
    reference = _logits(adapter)
    single = adapter.base / "model.safetensors"
    tensors = load_file(single)
    names = sorted(tensors)
    halves = {"model-00001-of-00002": names[::2], "model-00002-of-00002": names[1::2]}
    for stem, part in halves.items():
        save_file({name: tensors[name] for name in part}, adapter.base / f"{stem}.safetensors")
    weight_map = {name: f"{stem}.safetensors" for stem, part in halves.items() for name in part}
    cp.write_json(adapter.base / "model.safetensors.index.json", {"weight_map": weight_map})
    single.unlink()
    assert torch.equal(_logits(adapter), reference)
    for file in adapter.base.glob("model*"):
        file.unlink()
    torch.save(tensors, adapter.base / "pytorch_model.bin")
    assert torch.equal(_logits(adapter), reference)
    torch.save(tensors, adapter.base / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(_logits(adapter), reference)


def test_a_pickled_attention_lora(adapter: Source) -> None:
    reference = _logits(adapter)
    file = adapter.path / "adapter_model.safetensors"
    torch.save(load_file(file), adapter.path / "adapter_model.bin")
    file.unlink()
    assert torch.equal(_logits(adapter), reference)


def test_a_tied_head_may_be_stored_or_not(tmp_path: Path) -> None:
    folder = cp.write_merged(tmp_path / "m", BASES["qwen3"])
    reference = _logits(Source(folder))
    model: Any = load_model(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    tensors = load_file(folder / "model.safetensors")
    stored = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    save_file(stored, folder / "model.safetensors")
    assert torch.equal(_logits(Source(folder)), reference)
    stored["lm_head.weight"][3, 3] += 1
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"ties lm_head\.weight to model\.embed_tokens\.weight"):
        load_model(folder)


def test_recomputed_buffers_of_early_checkpoints_are_ignored(merged: Source) -> None:
    reference = _logits(merged)
    cp.edit_safetensors(
        merged.path / "model.safetensors",
        lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
    )
    assert torch.equal(_logits(merged), reference)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_parameter_has_the_dtype_and_none_trains(adapter: Source, dtype: str) -> None:
    model = load_model(*adapter, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    assert model.dtype == getattr(torch, dtype)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_auto_dtype_is_the_configurations(merged: Source) -> None:
    cp.edit_json(merged.path / "config.json", torch_dtype="bfloat16")
    assert load_model(merged.path, dtype="auto").dtype == torch.bfloat16


def test_generation_settings_come_along(merged: Source) -> None:
    cp.write_json(merged.path / "generation_config.json", {"eos_token_id": [2, 7]})
    config = load_model(merged.path).generation_config
    assert config is not None
    assert config.eos_token_id == [2, 7]


def test_weights_do_not_hang_on_the_files(merged: Source) -> None:
    """A checkpoint may be deleted or overwritten while its model is in use."""
    model = load_model(merged.path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    file = merged.path / "model.safetensors"
    file.write_bytes(b"\0" * file.stat().st_size)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
