"""Adapters of PEFT without experts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import Engine, check, fingerprint, load_model
from medbench.models.checkpoints.converting import convert
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, GPT2, Source, refused
from tests.models.native import write_native

_IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _lora(**settings: Any) -> peft.PeftConfig:
    values: dict[str, Any] = {"r": 4, "lora_alpha": 6, "target_modules": _ALL, "task_type": "CAUSAL_LM"}
    return peft.LoraConfig(**{**values, **settings})


_KINDS: dict[str, peft.PeftConfig] = {
    "lora": _lora(),
    "rslora": _lora(use_rslora=True),
    "dora": _lora(use_dora=True),
    "pissa": _lora(init_lora_weights="pissa"),
    "olora": _lora(init_lora_weights="olora"),
    "orthogonal": _lora(init_lora_weights="orthogonal"),
    "rank_pattern": _lora(rank_pattern={"down_proj": 2, "layers.1.self_attn.q_proj": 3}),
    "alpha_pattern": _lora(alpha_pattern={"up_proj": 3}),
    "layers_to_transform": _lora(layers_to_transform=[1]),
    "regular expression": _lora(target_modules=r".*\.(q|up)_proj"),
    "all-linear": _lora(target_modules="all-linear"),
    "exclude_modules": _lora(exclude_modules=["k_proj"]),
    "modules_to_save": _lora(modules_to_save=["lm_head"]),
    "trainable tokens": _lora(trainable_token_indices=[3, 9]),
    "embedding": _lora(target_modules=[*_ALL, "embed_tokens"]),
    "bias": _lora(bias="all"),
    "loha": peft.LoHaConfig(r=2, alpha=3, target_modules=_ALL, task_type="CAUSAL_LM"),
    "lokr": peft.LoKrConfig(r=2, alpha=3, target_modules=_ALL, task_type="CAUSAL_LM"),
    "ia3": peft.IA3Config(target_modules=_ALL, feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
    "oft": peft.OFTConfig(oft_block_size=8, target_modules=["q_proj"], task_type="CAUSAL_LM"),
}


def _write(folder: Path, config: peft.PeftConfig, base: dict[str, Any] | Path) -> Source:
    """An adapter with random weights beside its base."""
    if isinstance(base, dict):
        base = cp.write_base(folder / "base", base)
    torch.manual_seed(1)
    model: Any = peft.get_peft_model(load_model(base), config)
    names = set(peft.get_peft_model_state_dict(model, save_embedding_layers=False))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.replace(".default", "") in names or "modules_to_save" in name or "token_adapter" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return Source(folder / "adapter", base)


def _theirs(source: Source) -> Tensor:
    """Logits of PEFT's model, not merged."""
    assert source.base is not None
    model: Any = peft.PeftModel.from_pretrained(load_model(source.base), source.path).eval()
    with torch.no_grad():
        logits: Tensor = model(_IDS).logits
    return logits


def _ours(source: Source, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = load_model(*source, **kwargs)(_IDS).logits
    return logits


@pytest.mark.parametrize("kind", _KINDS)
def test_what_peft_merges(tmp_path: Path, kind: str) -> None:
    source = _write(tmp_path, _KINDS[kind], BASES["qwen2"])
    report = check(*source)
    assert (report.ok, report.layout, report.problems) == (True, "peft", ())
    assert source.base is not None
    ours = _ours(source)
    torch.testing.assert_close(ours, _theirs(source), rtol=0, atol=1e-4)
    assert not torch.allclose(ours, _ours(Source(source.base)), atol=1e-2)
    assert torch.equal(ours, _ours(source))


@pytest.mark.parametrize("base", ["qwen3", "gpt2", "mistral", "qwen2_moe"])
def test_other_bases(tmp_path: Path, base: str) -> None:
    if base == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        GPT2LMHeadModel(GPT2Config(**GPT2)).save_pretrained(tmp_path / "base")
        source = _write(tmp_path, _lora(target_modules=["c_attn"], fan_in_fan_out=True), tmp_path / "base")
    elif base == "qwen2_moe":
        write_native(tmp_path / "base", base)
        source = _write(tmp_path, _lora(target_modules=["q_proj", "v_proj"]), tmp_path / "base")
    else:
        source = _write(tmp_path, _lora(modules_to_save=["lm_head"]), BASES[base])
    torch.testing.assert_close(_ours(source), _theirs(source), rtol=0, atol=1e-4)
    Engine(load_model(*source)).score([([3, 1, 4], [1, 5])])


def test_it_is_rounded_once(tmp_path: Path) -> None:
    source = _write(tmp_path, _lora(), BASES["qwen2"])
    exact = dict(load_model(*source).named_parameters())
    for name, parameter in load_model(*source, dtype="bfloat16").named_parameters():
        assert torch.equal(parameter, exact[name].to(torch.bfloat16))


def test_merging_leaves_mapped_files_alone(tmp_path: Path) -> None:
    source = _write(tmp_path, _lora(), BASES["qwen2"])
    assert source.base is not None
    bare = load_model(source.base, mapped=True)
    before = {name: parameter.clone() for name, parameter in bare.named_parameters()}
    content = (source.base / "model.safetensors").read_bytes()
    assert torch.equal(_ours(source, mapped=True), _ours(source))
    assert all(torch.equal(parameter, before[name]) for name, parameter in bare.named_parameters())
    assert (source.base / "model.safetensors").read_bytes() == content


def test_the_base_may_be_named_by_the_adapter(tmp_path: Path) -> None:
    source = _write(tmp_path, _lora(), BASES["qwen2"])
    expected = _ours(source)
    cp.edit_json(source.path / "adapter_config.json", base_model_name_or_path=str(source.base))
    assert torch.equal(_ours(Source(source.path)), expected)
    assert fingerprint(source.path)["model"] == fingerprint(source.path)["model"]
    cp.edit_json(source.path / "adapter_config.json", base_model_name_or_path="somewhere/else")
    refused(Source(source.path), "an adapter needs its base model")


def test_the_fingerprint_covers_adapter_and_base(tmp_path: Path) -> None:
    source = _write(tmp_path, _lora(), BASES["qwen2"])
    assert source.base is not None
    seen = [fingerprint(*source)]
    for file in (source.path / "adapter_model.safetensors", source.base / "model.safetensors"):
        cp.edit_safetensors(file, lambda tensors: next(iter(tensors.values())).mul_(2))
        seen.append(fingerprint(*source))
    assert len({found["weights"] for found in seen}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "MIXLORA"}, "routing_strategy is None"),
        ({"peft_type": "PREFIX_TUNING"}, "peft_type is 'PREFIX_TUNING'"),
        ({"peft_type": "XLORA"}, "peft_type is 'XLORA'"),
        ({"lora_nums": 3}, "target_modules names linears of attention|missing tensors"),
        ({"blc_alpha": 0.1}, "blc_alpha is 0.1"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication makes a model of other layers"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"alora_invocation_tokens": [5]}, "PEFT cannot"),
        ({"init_lora_weights": "pissa_niter_8"}, "a randomized decomposition"),
        ({"r": 5}, "wrong shape"),
        ({"target_modules": ["q_proj"]}, "no place for"),
        ({"target_modules": ["query"]}, "PEFT cannot apply"),
        ({"use_dora": True}, "missing tensors"),
        ({"modules_to_save": ["lm_head"]}, "missing tensors"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    source = _write(tmp_path, _lora(), BASES["qwen2"])
    cp.edit_json(source.path / "adapter_config.json", **changes)
    refused(source, message)


def _rename(old: str, new: str) -> Any:
    def change(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _rename("base_model.model.", ""),
        _rename("layers.1", "layers.7"),
        lambda tensors: tensors.pop(next(iter(tensors))),
        lambda tensors: tensors.update({"base_model.model.lm_head.lora_A.weight": torch.ones(4, 16)}),
        lambda tensors: tensors.clear(),
    ],
)
def test_tensors_that_peft_would_pass_over(tmp_path: Path, change: Any) -> None:
    source = _write(tmp_path, _lora(), BASES["qwen2"])
    cp.edit_safetensors(source.path / "adapter_model.safetensors", change)
    assert not check(*source).ok
    refused(source, "missing tensors|no place for")


def test_other_adapters_keep_their_layouts(tmp_path: Path, adapter: Source) -> None:
    (adapter.path / "non_lora_trainables.bin").unlink()
    refused(adapter, "the adapter lacks its experts")
    source = _write(tmp_path / "p", _lora(), BASES["qwen2"])
    with pytest.raises(ModelError, match="no experts to convert"):
        convert(source.path, tmp_path / "c", source.base)
    shutil.rmtree(source.path)
    refused(Source(source.path, source.base), "no such folder")


@pytest.mark.parametrize(
    "case",
    ["peft-lora", "peft-rslora", "peft-dora", "peft-pissa", "peft-pissa-converted", "peft-lora-patterns"],
)
def test_golden_adapters(shared: Path, case: str) -> None:
    from safetensors.torch import load_file

    folder = shared / "golden" / "experts" / case
    if not folder.is_dir():
        pytest.skip(f"needs the golden adapter {folder}")
    told = cp.read_json(folder / "expected.json")
    tensors = load_file(folder / "expected.safetensors")
    model = load_model(folder / "adapter", (folder / told["base"]).resolve())
    with torch.no_grad():
        logits = model(tensors["prefill.input_ids"].reshape(1, -1)).logits[0]
    torch.testing.assert_close(logits, tensors["prefill.logits"].reshape(logits.shape), rtol=0, atol=1e-4)
    engine = Engine(model)
    for generation in told["generations"]:
        new = generation["new_ids"]
        assert list(engine.generate([generation["prompt_ids"]], len(new))[0].token_ids) == new
