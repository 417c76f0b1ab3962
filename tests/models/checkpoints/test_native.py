"""Checkpoints that are mixtures of experts themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from medbench.models import Engine, check, fingerprint, load_model
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import Source, refused
from tests.models.native import NATIVE, write_native

_IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


@pytest.mark.parametrize("name", NATIVE)
def test_they_load_as_transformers_reads_them(tmp_path: Path, name: str) -> None:
    theirs = write_native(tmp_path / "m", name)
    report = check(tmp_path / "m")
    assert report.ok, report.problems
    assert report.layout == "plain"
    ours = load_model(tmp_path / "m")
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    with torch.no_grad():
        torch.testing.assert_close(ours(_IDS).logits, theirs(_IDS).logits)
    assert set(fingerprint(tmp_path / "m")["files"]) >= {"model.safetensors", "config.json"}


def _drop(pattern: str) -> Any:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        found = [name for name in tensors if re.search(pattern, name)]
        assert found
        for name in found:
            del tensors[name]

    return change


@pytest.mark.parametrize(
    "pattern",
    [
        r"experts\.0\.",
        r"experts\.1\.gate_proj",
        r"experts\.3\.",
        r"layers\.1\.mlp\.gate\.weight",
        r"shared_expert\.up_proj",
        r"shared_expert_gate",
        r"layers\.0\.input_layernorm",
        r"embed_tokens",
    ],
)
def test_a_missing_tensor_is_noticed_before_and_while_loading(tmp_path: Path, pattern: str) -> None:
    write_native(tmp_path / "m", "qwen2_moe")
    cp.edit_safetensors(tmp_path / "m" / "model.safetensors", _drop(pattern))
    assert not check(tmp_path / "m", read=False).ok
    refused(Source(tmp_path / "m"), "missing|cannot load")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_experts": 3},
        {"num_experts": 5},
        {"moe_intermediate_size": 8},
        {"shared_expert_intermediate_size": 8},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3},
        {"mlp_only_layers": [0]},
        {"vocab_size": 41},
    ],
)
def test_a_configuration_of_another_model_is_noticed(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_native(tmp_path / "m", "qwen2_moe")
    cp.edit_json(tmp_path / "m" / "config.json", **changes)
    assert not check(tmp_path / "m", read=False).ok
    refused(Source(tmp_path / "m"), "tensors|cannot load|cannot build")


def test_correction_biases_come_from_the_files(tmp_path: Path) -> None:
    write_native(tmp_path / "m", "deepseek_v3")
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    cp.edit_safetensors(tmp_path / "m" / "model.safetensors", lambda t: t[name].copy_(torch.arange(8.0)))
    assert load_model(tmp_path / "m").state_dict()[name].tolist() == list(range(8))
    # In 16 bit it stays what transformers keeps it as.
    assert load_model(tmp_path / "m", dtype="bfloat16").state_dict()[name].dtype == torch.float32
    cp.edit_safetensors(tmp_path / "m" / "model.safetensors", _drop("e_score_correction_bias"))
    refused(Source(tmp_path / "m"), "missing tensors: .*e_score_correction_bias")


@pytest.mark.parametrize("case", ["native-qwen2-moe", "native-deepseek-v2", "native-deepseek-v3"])
def test_golden_mixtures(shared: Path, case: str) -> None:
    from safetensors.torch import load_file

    folder = shared / "golden" / "experts" / case
    if not folder.is_dir():
        pytest.skip(f"needs the golden checkpoint {folder}")
    tensors = load_file(folder / "expected.safetensors")
    model = load_model(folder / "model")
    ids = tensors["prefill.input_ids"].reshape(1, -1)
    with torch.no_grad():
        logits = model(ids).logits[0]
    torch.testing.assert_close(logits, tensors["prefill.logits"].reshape(logits.shape), rtol=0, atol=1e-4)
    engine = Engine(model)
    for generation in cp.read_json(folder / "expected.json")["generations"]:
        prompt, new = generation["prompt_ids"], generation["new_ids"]
        assert list(engine.generate([prompt], len(new))[0].token_ids) == new
