"""Reports on checkpoints, sound and not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from medbench.models import check, convert, load_model
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, GOLDEN_CASES, GPT2, Source, golden
from tests.models.tokenizers import write_tokenizer


@pytest.mark.parametrize("layout", ["adapter", "merged"])
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_golden_checkpoints(shared: Path, case: str, layout: str) -> None:
    report = check(*golden(shared, case, layout))
    assert report.ok
    assert report.layout == layout
    experts, rank, scaling = (4, 8, 2.0) if case == "e4k2r8" else (8, 16, 8.0)
    assert (report.num_experts, report.top_k, report.rank, report.scaling) == (experts, 2, rank, scaling)
    assert (report.architecture, report.layers, report.vocab_size) == ("qwen2", 3, 1031)
    # Per layer: gate and up map 64 to 176, down back; routers have weights and biases.
    lora = experts * rank * (64 + 176) * 3
    routers = experts * (64 + 1) * 2 + experts * (176 + 1)
    assert report.expert_parameters == 3 * (lora + routers)


def test_a_report_is_json(merged: Source) -> None:
    values = json.loads(json.dumps(check(merged.path).as_dict()))
    assert values["ok"] is True
    assert values["layout"] == "merged"
    assert values["dtypes"] == {"float32": values["tensors"]}


def test_a_tokenizer_with_more_tokens_than_the_model_is_remarked_on(merged: Source) -> None:
    write_tokenizer(merged.path)
    words = {f"word{place}": place for place in range(7, 60)}
    path = merged.path / "tokenizer.json"
    content = cp.read_json(path)
    content["model"]["vocab"] |= words
    cp.write_json(path, content)
    [remark] = [text for text in check(merged.path).remarks if "tokens up to" in text]
    assert "up to 59, the model 40" in remark


def test_remarks_on_the_tokenizer(merged: Source) -> None:
    assert "no tokenizer" in check(merged.path).remarks[0]
    write_tokenizer(merged.path)
    report = check(merged.path)
    assert (report.tokenizer, report.chat_template, report.remarks) == (True, True, ())
    (merged.path / "chat_template.jinja").unlink()
    assert "no chat template" in check(merged.path).remarks[0]


def test_problems_are_reported_not_raised(adapter: Source, tmp_path: Path) -> None:
    assert "no such folder" in check(tmp_path / "absent").problems[0]
    assert "needs its base" in check(adapter.path).problems[0]
    cp.edit_pickle(adapter.path / "non_lora_trainables.bin", lambda t: t.popitem())
    report = check(*adapter)
    assert not report.ok
    assert "1 missing tensors" in report.problems[0]
    assert report.num_experts == 4


def test_every_unreadable_tensor_is_a_problem(merged: Source, tmp_path: Path) -> None:
    folder = convert(merged.path, tmp_path / "converted")
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    content[header] ^= 1
    content[-1] ^= 1
    file.write_bytes(content)
    report = check(folder)
    assert len(report.problems) == 2
    assert all("checksum" in problem for problem in report.problems)
    assert check(folder, read=False).ok


def test_values_that_are_not_finite(merged: Source) -> None:
    cp.edit_safetensors(merged.path / "model.safetensors", lambda t: t["lm_head.weight"].fill_(float("nan")))
    assert "lm_head.weight has values that are not finite" in check(merged.path).problems[0]


def test_plain_models(tmp_path: Path) -> None:
    report = check(cp.write_base(tmp_path / "plain", BASES["llama"]))
    assert report.ok
    assert (report.layout, report.num_experts, report.expert_parameters) == ("plain", None, None)


def test_plain_models_that_only_transformers_can_read(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(**GPT2)).save_pretrained(tmp_path / "gpt2")
    assert check(tmp_path / "gpt2").ok
    cp.edit_safetensors(tmp_path / "gpt2" / "model.safetensors", _as_first_published)
    assert check(tmp_path / "gpt2").ok
    ids = torch.tensor([[3, 1, 4]])
    assert load_model(tmp_path / "gpt2")(ids).logits.isfinite().all()


def _as_first_published(tensors: dict[str, torch.Tensor]) -> None:
    """Without the prefix of today, and with the masks that were once stored."""
    for name in list(tensors):
        tensors[name.removeprefix("transformer.")] = tensors.pop(name)
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8)


def test_a_damaged_tokenizer_configuration(merged: Source) -> None:
    (merged.path / "tokenizer_config.json").write_text("{")
    assert "cannot be read as JSON" in check(merged.path).problems[0]
