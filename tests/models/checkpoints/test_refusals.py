"""What is refused: tensors and configurations that do not fit, and arguments that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medbench.models import convert, load_model
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, Source, refused

Change = Callable[[dict[str, Tensor]], Any]
_GATE = "model.layers.0.mlp.gate_proj"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{_GATE}.switch.bias"), rf"1 missing tensors: {_GATE}\.switch\.bias"),
        (lambda t: t.pop(f"{_GATE}.experts.3.lora_B_3.weight"), r"missing tensors: .*experts\.3\.lora_B_3"),
        (lambda t: t.pop("model.norm.weight"), r"missing tensors: model\.norm\.weight"),
        (
            lambda t: t.update({"surplus": torch.ones(2)}),
            "1 tensors that the model has no place for: surplus",
        ),
        (
            lambda t: t.update({f"{_GATE}.experts.4.lora_A_4.weight": torch.ones(2, 16)}),
            r"no place for: .*experts\.4",
        ),
        (
            lambda t: t.update({f"{_GATE}.share_experts.lora_A.weight": torch.ones(2, 16)}),
            r"no place for: .*share_experts",
        ),
        (
            lambda t: t.update({f"{_GATE}.switch.weight": torch.ones(5, 16)}),
            r"switch\.weight is \[5, 16\], expected \[4, 16\]",
        ),
        (lambda t: t.update({"lm_head.weight": torch.ones(41, 16)}), r"lm_head\.weight is \[41, 16\]"),
        (
            lambda t: t["model.norm.weight"].__setitem__(3, float("nan")),
            r"model\.norm\.weight has values.*finite",
        ),
        (
            lambda t: t[f"{_GATE}.experts.0.lora_A_0.weight"].__setitem__((0, 0), float("inf")),
            r"gate_proj\.molora_a has values.*finite",
        ),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(16, dtype=torch.int64)}),
            r"does not load: model\.norm\.weight is torch\.int64",
        ),
        (
            lambda t: [t.pop(n) for n in list(t) if "experts" in n or "switch" in n],
            "speaks of experts, but the files have none",
        ),
        (
            lambda t: [t.pop(n) for n in list(t) if ".experts.1." in n],
            r"12 missing tensors: .* \(8 more\)",
        ),
    ],
)
def test_merged_tensors_that_do_not_fit(merged: Source, change: Change, message: str) -> None:
    cp.edit_safetensors(merged.path / "model.safetensors", change)
    refused(merged, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop(f"base_model.model.{_GATE}.switch.bias"),
            rf"missing tensors: {_GATE}\.switch\.bias",
        ),
        (lambda t: t.update({"base_model.model.odd": torch.ones(2)}), "no place for: odd"),
        (
            lambda t: t.update({f"base_model.model.{_GATE}.experts.0.lora_A_0.weight": torch.ones(3, 16)}),
            r"is \[3, 16\], expected \[2, 16\]",
        ),
        (lambda t: t.update({"note": "a string"}), "'note' is no plain tensor"),
        (lambda t: t.update({"sparse": torch.ones(2, 2).to_sparse()}), "'sparse' is no plain"),
    ],
)
def test_adapter_experts_that_do_not_fit(adapter: Source, change: Change, message: str) -> None:
    cp.edit_pickle(adapter.path / "non_lora_trainables.bin", change)
    refused(adapter, message)


_LORA = "base_model.model.model.layers.0.self_attn.q_proj.lora"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{_LORA}_A.weight"), r"missing tensors: .*q_proj\.lora_A"),
        (lambda t: t.update({f"{_LORA}_A.bias": torch.ones(2)}), r"no place for: .*lora_A\.bias"),
        (lambda t: t.update({f"{_LORA}_B.weight": torch.ones(16, 3)}), r"is \[16, 3\], expected \[16, 2\]"),
    ],
)
def test_attention_lora_that_does_not_fit(adapter: Source, change: Change, message: str) -> None:
    cp.edit_safetensors(adapter.path / "adapter_model.safetensors", change)
    refused(adapter, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expert_selection": "sampling"}, "expert_selection is 'sampling': it draws experts at random"),
        ({"expert_selection": "soft"}, "expert_selection is 'soft'"),
        ({"share_expert": True}, "share_expert is true"),
        ({"num_experts": "four"}, "num_experts is 'four', expected an integer"),
        ({"num_experts": True}, "num_experts is True, expected an integer"),
        ({"num_experts": 8}, "missing tensors"),
        ({"num_experts": 2}, "no place for"),
        ({"num_experts_per_token": 5}, "num_experts_per_token is 5"),
        ({"use_rslora": True}, "use_rslora is True in .* and False in"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes'"),
        ({"num_hidden_layers": 3}, "not trained on this base model: num_hidden_layers 3 against 2"),
        ({"hidden_size": 32}, "not trained on this base model: hidden_size 32 against 16"),
        ({"model_type": "llama"}, "model_type 'llama' against 'qwen2'"),
        ({"rope_theta": 1e6}, "rope_parameters .*1000000.0.* against .*10000.0"),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "rope_parameters .*linear.* against .*default"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_parameters .*dynamic"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_parameters .*yarn"),
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, "rope_parameters .*1000000.0"),
        ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, "layer_types"),
        ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "sliding_window 8"),
        ({"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8}, "layer_types"),
        ({"max_position_embeddings": 128}, "max_position_embeddings 128 against 64"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps 1e-05 against 1e-06"),
        ({"head_dim": 4}, "head_dim 4 against"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' against 'silu'"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings True against False"),
        ({"eos_token_id": 3}, "eos_token_id 3 against 2"),
        ({"logit_scale": 0.5}, "logit_scale 0.5 against None"),
    ],
)
def test_adapter_configurations(adapter: Source, changes: dict[str, Any], message: str) -> None:
    cp.edit_json(adapter.path / "config.json", **changes)
    refused(adapter, message)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": None, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
        {"rope_scaling": None},
        {"use_sliding_window": False, "sliding_window": 32768, "max_window_layers": 28},
        {"attention_dropout": 0.1, "initializer_range": 0.01, "use_cache": False},
        {"torch_dtype": "bfloat16", "dtype": "float16", "transformers_version": "4.38.1"},
        {"architectures": ["Other"], "_name_or_path": "elsewhere", "bos_token_id": 9, "pad_token_id": 0},
        {"router_loss_coeff": 0.1, "r": 99, "bias": "none"},
    ],
)
def test_what_an_adapters_configuration_may_say_otherwise(adapter: Source, changes: dict[str, Any]) -> None:
    ids = torch.tensor([[3, 1, 4]])
    before = load_model(*adapter)(ids).logits
    config = {**cp.read_json(adapter.path / "config.json"), **changes}
    if config["rope_theta"] is None:
        del config["rope_theta"]
    cp.write_json(adapter.path / "config.json", config)
    assert torch.equal(load_model(*adapter)(ids).logits, before)


@pytest.mark.parametrize(
    "changes",
    [
        {"init_lora_weights": True, "lora_dropout": 0.1, "inference_mode": False, "peft_version": "0.21.2"},
        {"init_lora_weights": "gaussian", "megatron_core": "megatron.core", "megatron_config": None},
        {"loftq_config": {}, "layers_to_transform": None, "rank_pattern": {}, "task_type": "CAUSAL_LM"},
        {"qalora_group_size": 16, "use_qalora": False, "a_key_of_tomorrow": None, "another": False},
    ],
)
def test_what_an_attention_lora_may_say(adapter: Source, changes: dict[str, Any]) -> None:
    cp.edit_json(adapter.path / "adapter_config.json", **changes)
    load_model(*adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 3}, "wrong shape"),
        ({"r": None}, "r is None, expected an integer"),
        ({"lora_alpha": "16"}, "lora_alpha is '16', expected a number"),
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"bias": "lora_only"}, "bias is 'lora_only'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights is 'pissa_niter_16'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights is 'loftq'"),
        ({"init_lora_weights": "corda"}, "init_lora_weights is 'corda'"),
        ({"init_lora_weights": 1}, "init_lora_weights is 1"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication is"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices is"),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens is"),
        ({"layers_pattern": "layers"}, "layers_pattern is"),
        ({"exclude_modules": ["k_proj"]}, "exclude_modules is"),
        ({"target_parameters": ["mlp.x"]}, "target_parameters is"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"use_qalora": True}, "use_qalora is True"),
        ({"lora_nums": 3}, "lora_nums is 3"),
        ({"a_key_of_tomorrow": "on"}, "a_key_of_tomorrow is 'on'"),
        ({"another_number": 0}, "another_number is 0"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern is"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern is"),
        ({"layers_to_transform": [0]}, "layers_to_transform is"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is true"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"target_modules": ".*"}, r"target_modules is '\.\*', expected a list"),
        ({"target_modules": ["q_proj"]}, "no place for"),
        ({"target_modules": [*cp.TARGETS, "query"]}, "names no layer of the base model: query"),
        ({"target_modules": [*cp.TARGETS, "up_proj"]}, r"missing tensors: .*up_proj\.lora_A"),
    ],
)
def test_attention_lora_configurations(adapter: Source, changes: dict[str, Any], message: str) -> None:
    cp.edit_json(adapter.path / "adapter_config.json", **changes)
    refused(adapter, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, "missing tensors"),
        ({"num_hidden_layers": 1}, "no place for"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"hidden_size": 10**12}, "hidden_size is 1000000000000"),
        ({"intermediate_size": 25}, "wrong shape"),
        ({"num_attention_heads": 3}, "wrong shape|cannot build"),
        ({"num_attention_heads": "two"}, "cannot build a 'qwen2'"),
        ({"model_type": "no_such_type"}, "does not know the architecture 'no_such_type'"),
        ({"model_type": None}, "no model_type"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"expert_selection": "sampling"}, "draws experts at random"),
        ({"share_expert": True}, "share_expert is true"),
    ],
)
def test_merged_configurations(merged: Source, changes: dict[str, Any], message: str) -> None:
    cp.edit_json(merged.path / "config.json", **changes)
    refused(merged, message)


def test_an_adapter_needs_its_base(adapter: Source) -> None:
    error = refused(Source(adapter.path), "an adapter needs its base model")
    assert error.hint is not None
    assert "somewhere/else" in error.hint


def test_an_adapter_without_its_experts(adapter: Source) -> None:
    (adapter.path / "non_lora_trainables.bin").unlink()
    refused(adapter, r"no non_lora_trainables\.bin: the adapter lacks its experts")


def test_an_adapter_without_its_attention_lora(adapter: Source) -> None:
    (adapter.path / "adapter_model.safetensors").unlink()
    refused(adapter, r"no adapter_model\.safetensors")


def test_a_base_with_experts_is_no_base(adapter: Source, merged: Source) -> None:
    refused(Source(adapter.path, merged.path), "the base must be a plain model")
    refused(Source(adapter.path, adapter.path), "the base must be a plain model")


def test_only_an_adapter_takes_a_base(merged: Source, adapter: Source) -> None:
    refused(Source(merged.path, adapter.base), "a base model was given")


def test_a_merged_checkpoint_is_not_read_as_a_bare_base(merged: Source, adapter: Source) -> None:
    refused(merged, "lose its experts without a word", layout="plain")
    refused(adapter, "which needs its base model", layout="plain")


def test_a_merged_checkpoint_is_known_by_its_tensors_alone(merged: Source) -> None:
    config = cp.read_json(merged.path / "config.json")
    cp.write_json(merged.path / "config.json", {**BASES["qwen2"], "r": 2})
    refused(merged, "lora_alpha is None")
    refused(merged, "lose its experts without a word", layout="plain")
    cp.write_json(merged.path / "config.json", config)
    load_model(merged.path, layout="merged")


def test_a_merged_checkpoint_that_lost_its_experts(tmp_path: Path) -> None:
    """What AutoModel leaves behind when it loads and saves a merged checkpoint."""
    from transformers import AutoModelForCausalLM

    folder = cp.write_merged(tmp_path / "merged", BASES["qwen2"])
    theirs: Any = AutoModelForCausalLM.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "saved")
    refused(Source(tmp_path / "saved"), "speaks of experts, but the files have none")
    ids = torch.tensor([[3, 1, 4]])
    assert torch.equal(load_model(tmp_path / "saved", layout="plain")(ids).logits, theirs(ids).logits)
    refused(Source(folder), "asked for layout plain, but this is a merged", layout="plain")


def test_transformers_refuses_a_converted_checkpoint(merged: Source, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    convert(merged.path, tmp_path / "converted")
    with pytest.raises(ValueError, match="molora"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "converted")
    refused(Source(tmp_path / "converted"), "a converted MoLoRA checkpoint", layout="merged")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"layout": "folded"}, "unknown layout 'folded'"),
        ({"impl": "magic"}, "unknown impl 'magic'"),
    ],
)
def test_unknown_arguments(merged: Source, kwargs: dict[str, str], message: str) -> None:
    refused(merged, message, **kwargs)


def test_float16_overflow_is_no_silent_infinity(merged: Source) -> None:
    cp.edit_safetensors(merged.path / "model.safetensors", lambda t: t["lm_head.weight"].fill_(1e6))
    error = refused(merged, "not finite in torch.float16", dtype="float16")
    assert error.hint == "load it in float32 or bfloat16"
    load_model(merged.path)


def test_mlps_of_experts_are_no_base(tmp_path: Path) -> None:
    config = {**BASES["qwen2"], "model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 1}
    folder = tmp_path / "m"
    folder.mkdir()
    cp.write_json(folder / "config.json", {**config, "expert_selection": "top_k", "r": 2, "lora_alpha": 4})
    save_file({"model.layers.0.mlp.up_proj.switch.bias": torch.ones(2)}, folder / "model.safetensors")
    refused(Source(folder), "no MLP with linear gate_proj")


@pytest.mark.parametrize(
    "name",
    [
        "baichuan",
        "internlm2",
        "chatglm",
        "qwen",
        "aquila",
        "telechat",
        "HuatuoGPT",
        "yi_moe",
        "orion",
        "xverse",
    ],
)
def test_an_architecture_with_code_of_its_own_is_refused_in_words(tmp_path: Path, name: str) -> None:
    folder = cp.write_base(tmp_path / "c", BASES["llama"])
    cp.edit_json(folder / "config.json", model_type=name, auto_map={"AutoModelForCausalLM": "modeling.Model"})
    error = refused(
        Source(folder), f"does not know the architecture '{name}': the checkpoint brings code of its own"
    )
    assert len(str(error)) < 500


@pytest.mark.parametrize(("name", "close"), [("qwen22", "qwen2"), ("lama", "llama"), ("mistrall", "mistral")])
def test_a_misspelled_architecture_is_corrected(tmp_path: Path, name: str, close: str) -> None:
    folder = cp.write_base(tmp_path / "c", BASES["llama"])
    cp.edit_json(folder / "config.json", model_type=name)
    refused(Source(folder), f"does not know the architecture '{name}'[\\s\\S]*did you mean [^?]*{close}")
