"""What a run says of its settings, and which of them keep two runs apart."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from medbench.analysis import load_runs
from medbench.analysis.conditions import ASKED, COMPUTED, Conditions
from medbench.runs.settings import RunSettings, known_settings
from tests.analysis.factory import FakeTask, write_run

NEW: dict[str, Any] = {
    "chat_template": True,
    "system_prompt": "Be brief.",
    "dtype": "bfloat16",
    "device": "cpu",
    "quantization": "none",
    "num_fewshot": None,
    "limit": None,
    "data_source": "auto",
    "shuffle_options": None,
    "circular": False,
    "seed": 1234,
    "routing": "tasks",
    "max_batch_tokens": 8192,
    "engine": "native",
}


def _of(tmp_path: Path, manifest: dict[str, Any], *tasks: FakeTask) -> Conditions:
    write_run(tmp_path, "m", tasks or [FakeTask("t")], manifest=manifest)
    return Conditions.of(next(iter(load_runs(tmp_path))))


def test_new_runs_say_what_was_used(tmp_path: Path) -> None:
    found = _of(tmp_path, {"settings": NEW})
    assert found == Conditions(
        True, "Be brief.", "bfloat16", num_fewshot=0, sources=("folder",), engine="native"
    )
    assert found.line() == (
        "chat template on · system prompt “Be brief.” · bfloat16 · 0-shot · all documents · source folder · "
        "engine native"
    )


def test_old_runs_say_what_was_used_beside_what_was_asked(tmp_path: Path) -> None:
    found = _of(
        tmp_path,
        {
            "settings": {
                "limit": 2,
                "chat_template": None,
                "system_prompt": None,
                "seed": 1,
                "num_fewshot": 3,
            },
            "chat_template": False,
            "system_prompt": "",
            "model_definition": {
                "dtype": "float32",
                "quantization": "int8",
                "engine": {"max_batch_tokens": 9},
            },
        },
        FakeTask("t", data_source="samples"),
        FakeTask("u"),
    )
    assert found.line() == (
        "chat template off · no system prompt · float32 · 3-shot · limit 2 · source folder, samples · "
        "engine native · int8 · seed 1"
    )


@pytest.mark.parametrize("settings", [None, {}, {"limit": None}, [], "text"])
def test_missing_settings_are_unknown(tmp_path: Path, settings: Any) -> None:
    found = _of(tmp_path, {"settings": settings, "model_definition": None})
    assert found == Conditions(num_fewshot=0, sources=("folder",), engine="native")
    assert found.line().startswith("chat template unknown · 0-shot · all documents")


BASE = Conditions(True, "", "float32", num_fewshot=0, sources=("folder",), engine="native")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"chat_template": False}, "chat template on against chat template off"),
        ({"system_prompt": "Hi"}, "no system prompt against system prompt “Hi”"),
        ({"dtype": "bfloat16"}, "float32 against bfloat16"),
        ({"quantization": "nf4"}, "not quantized against nf4"),
        ({"num_fewshot": 3}, "0-shot against 3-shot"),
        ({"num_fewshot": None}, "0-shot against few-shot as the tasks say"),
        ({"limit": 2.0}, "all documents against limit 2"),
        ({"limit": 0.25}, "all documents against first 25% of each task"),
        ({"sources": ("samples",)}, "source folder against source samples"),
        ({"sources": ("folder", "samples")}, "source folder against source folder, samples"),
        ({"shuffle_options": 0}, "options in order against options shuffled (seed 0)"),
        ({"circular": True}, "not circular against circular"),
        ({"thinking": "on"}, "thinking as the template has it against thinking on"),
        ({"close_thinking": True}, "unfinished thinking left open against unfinished thinking closed"),
        ({"max_gen_toks": 9}, "tokens as the tasks say against at most 9 new tokens"),
        ({"engine": "reference"}, "engine native against engine reference"),
        ({"others": ("tags 1",)}, "nothing else set against tags 1"),
    ],
)
def test_every_setting_that_changes_scores_keeps_runs_apart(change: dict[str, Any], text: str) -> None:
    other = replace(BASE, **change)
    assert BASE.differences(other) == [text]
    assert other.differing(BASE) == list(change)
    assert (BASE.differing(other, ASKED) == []) == (next(iter(change)) in COMPUTED)


@pytest.mark.parametrize("name", ["chat_template", "system_prompt", "dtype", "sources", "engine"])
def test_what_is_not_known_does_not_differ(name: str) -> None:
    change: dict[str, Any] = {name: () if name == "sources" else None}
    unknown = replace(BASE, **change)
    assert BASE.differences(unknown) == []


def test_a_seed_counts_only_with_examples(tmp_path: Path) -> None:
    zero = _of(tmp_path / "a", {"settings": {**NEW, "seed": 1}})
    also = _of(tmp_path / "b", {"settings": {**NEW, "seed": 2}})
    assert zero == also
    few = [
        _of(tmp_path / f"few{seed}", {"settings": {**NEW, "seed": seed, "num_fewshot": 3}}) for seed in (1, 2)
    ]
    assert few[0].differences(few[1]) == ["seed 1 against seed 2"]


def test_tasks_with_numbers_of_their_own(tmp_path: Path) -> None:
    tasks = [FakeTask("t"), FakeTask("u", extra={"num_fewshot": 5})]
    assert _of(tmp_path, {"settings": NEW}, *tasks).num_fewshot is None


def test_results_of_lm_eval_say_what_they_know(tmp_path: Path) -> None:
    content = {
        "results": {"t": {"acc,none": 0.5}},
        "n-shot": {"t": 5},
        "config": {"model": "hf", "model_dtype": "torch.float16", "limit": 3.0, "fewshot_seed": 7},
        "chat_template": None,
        "system_instruction": "Hi",
        "model_name": "m",
    }
    (tmp_path / "results_x.json").write_text(json.dumps(content), encoding="utf-8")
    assert Conditions.of(next(iter(load_runs(tmp_path)))).line() == (
        "chat template off · system prompt “Hi” · float16 · 5-shot · limit 3 · engine lm-eval hf · seed 7"
    )
    for name in ("chat_template", "system_instruction", "config", "n-shot"):
        del content[name]
    (tmp_path / "results_x.json").write_text(json.dumps(content), encoding="utf-8")
    assert Conditions.of(next(iter(load_runs(tmp_path)))) == Conditions()


@pytest.mark.parametrize(
    ("quantization", "gguf", "said"),
    [
        ("none", None, None),
        ("none", {"quantized": ""}, None),
        (None, {}, None),
        ("none", {"quantized": "Q4_1"}, "GGUF Q4_1"),
        (None, {"quantized": "Q4_1, Q8_0"}, "GGUF Q4_1, Q8_0"),
        ("", {"quantized": "Q6_K"}, "GGUF Q6_K"),
        ("int8", None, "int8"),
        ("int8", {"quantized": ""}, "int8"),
        ("int8", {"quantized": "Q5_1"}, "int8 of GGUF Q5_1"),
        ("nf4", {"quantized": "Q4_0"}, "nf4 of GGUF Q4_0"),
    ],
)
def test_the_line_says_in_what_format_a_gguf_file_holds_the_weights(
    tmp_path: Path, quantization: str | None, gguf: dict[str, str] | None, said: str | None
) -> None:
    manifest = {"settings": NEW | {"quantization": quantization}, "fingerprint": {"model": "m", "gguf": gguf}}
    found = _of(tmp_path, manifest)
    assert found.quantization == said
    assert (said is None) == ("GGUF" not in found.line() and "int8" not in found.line())
    assert said is None or said in found.line().split(" · ")


def test_the_line_says_how_a_model_reasons_where_it_was_said(tmp_path: Path) -> None:
    plain = _of(tmp_path / "plain", {"settings": NEW | {"thinking": "auto", "close_thinking": False}})
    assert "think" not in plain.line()
    said = {"thinking": "off", "close_thinking": True, "max_gen_toks": 4096}
    line = _of(tmp_path / "said", {"settings": NEW | said}).line()
    assert "thinking off · at most 4096 new tokens · unfinished thinking closed" in line


@pytest.mark.parametrize("name", [field.name for field in fields(RunSettings)])
def test_every_setting_of_a_run_keeps_runs_apart_or_is_known_not_to_matter(tmp_path: Path, name: str) -> None:
    if name in {field.name for field in fields(Conditions)}:
        return
    found = _of(tmp_path, {"settings": NEW | {name: "x"}}).others
    # These were asked for, not used, or are of the machine; `layout` and `add_bos_token` change answers.
    elsewhere = {"data_dir", "data_source", "routing", "max_batch_tokens", "device", "deterministic"}
    setting = known_settings()[name]
    harmless = name in elsewhere or not (setting.in_identity or setting.of_model)
    assert found == (() if harmless else (f'{name} "x"',))


def test_a_condition_is_of_what_is_asked_or_of_what_is_computed() -> None:
    assert {field.name for field in fields(Conditions)} == {*ASKED, *COMPUTED}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("greedy", 'new_setting "greedy"'),
        (0.5, "new_setting 0.5"),
        (["a"], 'new_setting ["a"]'),
        (True, "new_setting true"),
        (None, ""),
        (False, ""),
        ([], ""),
        ("auto", ""),
    ],
)
def test_a_setting_of_a_later_version_keeps_runs_apart(tmp_path: Path, value: Any, text: str) -> None:
    plain = _of(tmp_path / "plain", {"settings": NEW})
    later = _of(tmp_path / "later", {"settings": NEW | {"new_setting": value}})
    assert later.differences(plain) == ([f"{text} against nothing else set"] if text else [])
    assert later.line() == plain.line() + (f" · {text}" if text else "")
