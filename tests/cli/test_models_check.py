"""``medbench models check`` says what ``medbench run`` does with the same checkpoint, in the same words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medbench.cli.main import main
from tests.models import made_checkpoints as cp
from tests.models.tokenizers import write_tokenizer
from tests.models.zoo import tiny_model

_Damage = Callable[[Path], None]


def _nothing(folder: Path) -> None:
    del folder


def _without_a_tensor(folder: Path) -> None:
    cp.edit_safetensors(folder / "model.safetensors", lambda tensors: tensors.pop(sorted(tensors)[-1]))


def _not_finite(folder: Path) -> None:
    cp.edit_safetensors(
        folder / "model.safetensors", lambda tensors: tensors[sorted(tensors)[-1]].fill_(torch.nan)
    )


def _too_large_for_half(folder: Path) -> None:
    cp.edit_safetensors(folder / "model.safetensors", lambda tensors: tensors[sorted(tensors)[-1]].fill_(1e6))


def _without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def _with_a_chat_template_only(folder: Path) -> None:
    _without_tokenizer(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text("{}", encoding="utf-8")


def _quantized(folder: Path) -> None:
    cp.edit_json(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


def _unknown(folder: Path) -> None:
    cp.edit_json(folder / "config.json", model_type="baichuan")


def _other_sizes(folder: Path) -> None:
    cp.edit_json(folder / "config.json", vocab_size=90)


def _damaged(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


CASES: list[tuple[str, _Damage, list[str]]] = [
    ("llama", _nothing, []),
    ("qwen3_moe", _nothing, []),
    ("gpt2", _nothing, []),
    ("gemma2", _nothing, []),
    ("cohere", _nothing, []),
    ("lfm2", _nothing, []),
    ("stablelm", _nothing, []),
    ("mamba", _nothing, []),
    ("mamba", _nothing, ["--dtype", "bfloat16"]),
    ("gemma3n_text", _nothing, ["--dtype", "bfloat16"]),
    ("llama4_text", _nothing, []),
    ("bert", _nothing, []),
    ("xlnet", _nothing, []),
    ("cpmant", _nothing, []),
    ("llama", _without_a_tensor, []),
    ("gpt2", _without_a_tensor, []),
    ("gpt2", _other_sizes, []),
    ("llama", _not_finite, []),
    ("llama", _too_large_for_half, ["--dtype", "float16"]),
    ("llama", _without_tokenizer, []),
    ("mamba", _without_tokenizer, []),
    ("mamba", _with_a_chat_template_only, []),
    ("llama", _quantized, []),
    ("llama", _unknown, []),
    ("llama", _damaged, []),
]


@pytest.mark.parametrize(
    ("architecture", "damage", "options"),
    CASES,
    ids=[" ".join([kind, change.__name__.strip("_"), *options]) for kind, change, options in CASES],
)
def test_check_says_what_run_does(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    architecture: str,
    damage: _Damage,
    options: list[str],
) -> None:
    folder = tmp_path / "model"
    tiny_model(architecture).save_pretrained(folder)
    write_tokenizer(folder)
    damage(folder)
    status = main(["models", "check", str(folder), *options, "--json"])
    report = json.loads(capsys.readouterr().out)
    words = ["run", "--model", str(folder), "--tasks", "pubmedqa", "--limit", "1", "--source", "samples"]
    words += ["--no-report", "--results", str(tmp_path / "results"), "--json", *options]
    ran = main(words)
    told = capsys.readouterr()
    assert report["ok"] == (status == 0)
    if ran:
        assert status == 1
        assert (ran, "Traceback" in told.err) == (2, False)
        assert _flat(report["problems"][0]) in _flat(told.err)
        return
    assert status == 0, report["problems"]
    settings = json.loads(told.out)["settings"]
    assert (report["engine"], report["engine_why"]) == (settings["engine"], settings.get("engine_why"))


def _flat(text: str) -> str:
    return " ".join(text.split())


def test_the_verdict_is_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders: dict[str, Path] = {}
    for architecture in ("llama", "gemma2"):
        folders[architecture] = tmp_path / architecture
        tiny_model(architecture).save_pretrained(folders[architecture])
        write_tokenizer(folders[architecture])
    assert _last(capsys, folders["llama"]) == (0, "The checkpoint would run.")
    status, verdict = _last(capsys, folders["gemma2"])
    assert status == 0
    assert verdict.startswith("The checkpoint would run one row at a time, by transformers' own forward: ")
    assert _last(capsys, folders["gemma2"], "--no-read") == (
        0,
        "Names and shapes fit; whether it would run was not tried.",
    )
    _without_tokenizer(folders["llama"])
    assert _last(capsys, folders["llama"]) == (1, "The checkpoint would not run.")
    _quantized(folders["llama"])
    assert _last(capsys, folders["llama"], "--no-read") == (1, "The checkpoint would not load.")


def _last(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> tuple[int, str]:
    status = main(["models", "check", str(folder), *options])
    return status, capsys.readouterr().out.strip().splitlines()[-1]


def test_what_long_sequences_do_is_remarked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model("doge").save_pretrained(tmp_path / "doge")
    write_tokenizer(tmp_path / "doge")
    assert main(["models", "check", str(tmp_path / "doge"), "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    [remark] = report["remarks"]
    assert "more than 16 tokens" in remark
    assert "not causal" in remark
