"""What a checkpoint says of how answers are written: sorted, recorded, shown, and told of."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from transformers import AutoModelForCausalLM

from medbench.errors import ModelError
from medbench.models import check, fingerprint, load_model
from medbench.models.checkpoints.generation_config import ConfiguredGeneration, read_generation_config
from medbench.models.engines.native.decoding import Decoding
from medbench.models.harness.adapter import MedbenchLM
from medbench.models.harness.generation_settings import GenerationSettings
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, Source
from tests.models.tokenizers import write_tokenizer

KINDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"eos_token_id": [1, 2], "pad_token_id": 0, "use_cache": True}, {}),
    ({"repetition_penalty": 1.05}, {"applied": {"repetition_penalty": 1.05}}),
    ({"repetition_penalty": 1.0, "num_beams": 1}, {}),
    (
        {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8},
        {"drawing": {"temperature": 0.7, "top_k": 20, "top_p": 0.8}},
    ),
    ({"suppress_tokens": [3, 4]}, {"applied": {"suppress_tokens": [3, 4]}}),
    ({"bad_words_ids": [[3], [4, 5]]}, {"applied": {"bad_words_ids": [[3], [4, 5]]}}),
    ({"max_new_tokens": 3}, {"left_to_tasks": {"max_new_tokens": 3}}),
    ({"max_length": 30}, {}),  # lm-eval's hf gives one of its own
    ({"num_beams": 3}, {"refused": {"num_beams": 3}}),
    ({"guidance_scale": 1.5}, {"refused": {"guidance_scale": 1.5}}),
    (
        {"min_new_tokens": 2, "max_new_tokens": 9, "min_p": 0.1},
        {
            "applied": {"min_new_tokens": 2},
            "left_to_tasks": {"max_new_tokens": 9},
            "drawing": {"min_p": 0.1},
        },
    ),
]


@pytest.mark.parametrize(("said", "sorted_out"), KINDS, ids=str)
def test_settings_are_sorted_and_recorded(merged: Source, said: dict[str, Any], sorted_out: Any) -> None:
    cp.write_json(merged.path / "generation_config.json", said)
    recorded = fingerprint(merged.path)["generation"]
    assert recorded == sorted_out
    assert json.loads(json.dumps(recorded)) == recorded
    report = check(merged.path)
    assert report.generation == sorted_out
    assert report.ok
    for key in {**sorted_out.get("refused", {}), **sorted_out.get("left_to_tasks", {})}:
        assert any(key in remark for remark in report.remarks)
    decoding = Decoding(load_model(merged.path))
    assert decoding.applied == sorted_out.get("applied", {})
    assert decoding.refused == sorted_out.get("refused", {})
    assert decoding.left_to_tasks == sorted_out.get("left_to_tasks", {})


def test_what_is_no_plain_value_is_recorded_as_one(merged: Source) -> None:
    marks = {"greenlist_ratio": 0.25, "bias": 2.0}
    cp.write_json(merged.path / "generation_config.json", {"watermarking_config": marks})
    recorded = fingerprint(merged.path)["generation"]["refused"]["watermarking_config"]
    assert marks.items() <= json.loads(json.dumps(recorded)).items()


def test_an_edit_makes_another_model(merged: Source) -> None:
    found = set()
    for penalty in (None, 1.0, 1.05, 1.1):
        if penalty is not None:
            cp.write_json(merged.path / "generation_config.json", {"repetition_penalty": penalty})
        found.add(fingerprint(merged.path)["model"])
    assert len(found) == 4


def test_an_adapter_has_those_of_its_base(adapter: Source) -> None:
    assert adapter.base is not None
    cp.write_json(adapter.path / "generation_config.json", {"repetition_penalty": 1.9})
    cp.write_json(adapter.base / "generation_config.json", {"repetition_penalty": 1.05})
    expected = {"repetition_penalty": 1.05}
    assert fingerprint(*adapter)["generation"] == {"applied": expected}
    assert check(*adapter).generation == {"applied": expected}
    assert Decoding(load_model(*adapter)).applied == expected


OLDER: list[dict[str, Any]] = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    {"suppress_tokens": [3]},
    {"min_length": 4},
    {"max_length": 20, "do_sample": True, "top_p": 0.8},
    {"temperature": 0.5},
    {"bad_words_ids": [[5]]},
    {"forced_eos_token_id": 2},
    {"num_beams": 4},
    {"eos_token_id": [1, 2]},
    {},
]


@pytest.mark.parametrize("said", OLDER, ids=str)
def test_without_a_file_they_are_those_that_transformers_finds(tmp_path: Path, said: dict[str, Any]) -> None:
    folder = cp.write_base(tmp_path / "model", BASES["qwen2"])
    (folder / "generation_config.json").unlink(missing_ok=True)
    cp.edit_json(folder / "config.json", **said)
    theirs = AutoModelForCausalLM.from_pretrained(folder).generation_config
    ours: Any = load_model(folder).generation_config
    assert ours.to_dict() == theirs.to_dict()
    assert fingerprint(folder)["generation"] == ConfiguredGeneration.of(theirs).as_dict()


def test_a_folder_without_both_has_none(tmp_path: Path) -> None:
    assert read_generation_config(tmp_path) is None
    assert ConfiguredGeneration.of(None).as_dict() == {}


@pytest.mark.parametrize("content", ["[]", "{", '"penalty"'])
def test_a_damaged_file_is_refused(merged: Source, content: str) -> None:
    (merged.path / "generation_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="generation_config"):
        fingerprint(merged.path)
    assert not check(merged.path).ok


@pytest.mark.parametrize("beams", range(2, 12))
def test_a_task_may_do_without_the_beams_of_a_file(merged: Source, beams: int) -> None:
    cp.write_json(merged.path / "generation_config.json", {"num_beams": beams})
    decoding = Decoding(load_model(merged.path))
    with pytest.raises(ModelError, match=f"num_beams {beams}"):
        decoding.processors([1, 2], 4)
    asked = GenerationSettings.parse({"num_beams": 1}, max_gen_toks=4, where="a task")
    assert decoding.processors([1, 2], 4, asked.changes) is None


@pytest.mark.parametrize(("limit", "warned"), [(3, 0), (2, 1), (9, 1)])
def test_a_limit_that_is_not_kept_is_told_of_once(
    merged: Source, limit: int, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    cp.write_json(merged.path / "generation_config.json", {"max_new_tokens": 3})
    write_tokenizer(merged.path)
    lm = MedbenchLM(str(merged.path))
    asked = [
        Instance("generate_until", {}, (text, {"until": [], "max_gen_toks": limit}), number, ("t", number, 1))
        for number, text in enumerate(("one", "two"))
    ]
    with caplog.at_level(logging.WARNING):
        lm.generate_until(asked[:1])
        lm.generate_until(asked)
    assert sum("max_new_tokens 3" in record.getMessage() for record in caplog.records) == warned
