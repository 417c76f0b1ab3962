"""What `medbench run` prints: settings and scores, for people and for scripts, under names that hold."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import medbench.demo
from medbench.cli.main import main
from medbench.runs import loading
from tests.models import made_checkpoints as cp
from tests.models.tokenizers import write_tokenizer

DEMO = Path(medbench.demo.__file__).parent / "checkpoint"
EARLY = DEMO.with_name("early")
WORDS = ["run", "--tasks", "pubmedqa", "--limit", "2", "--no-report"]


def run_json(results: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Any, str]:
    """The JSON of a run, and what went to standard error."""
    capsys.readouterr()
    assert main([*WORDS, "--results", str(results), *words, "--json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The demo's files in a folder that is not the demo's in every respect."""
    folder = shutil.copytree(DEMO, tmp_path / "elsewhere" / "final")
    (folder / "README.md").write_text("mine", encoding="utf-8")
    return folder


def test_json_holds_settings_and_every_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_everything = loading.seed_everything

    def talking(seed: int) -> None:
        sys.stdout.write("tasks and libraries may print\n")
        seed_everything(seed)

    monkeypatch.setattr(loading, "seed_everything", talking)
    words = ["--shuffle-options", "3", "--system-prompt", "Be brief.", "--no-chat-template"]
    found, said = run_json(tmp_path, capsys, *words)
    assert "may print" in said
    manifest = json.loads((Path(found["run"]) / "run.json").read_text(encoding="utf-8"))
    assert found["settings"] == manifest["settings"]
    expected = {"chat_template": False, "system_prompt": "Be brief.", "dtype": "float32", "num_fewshot": None}
    expected |= {"limit": 2, "shuffle_options": 3, "circular": False, "engine": "native"}
    assert expected.items() <= found["settings"].items()
    assert (manifest["chat_template"], manifest["system_prompt"]) == (False, "Be brief.")
    scores = pd.read_parquet(Path(found["run"]) / "scores.parquet")
    assert len(found["scores"]) == len(scores) > 0
    for row, stored in zip(found["scores"], scores.to_dict("records"), strict=True):
        assert stored.keys() <= row.keys()
        for key, value in stored.items():
            missing = value is None or (not isinstance(value, list) and pd.isna(value))
            assert row[key] is None if missing else row[key] == value, key


@pytest.mark.parametrize("words", [[], ["--no-chat-template"], ["--system-prompt", "Be brief."]])
def test_a_checkpoint_by_name_and_by_folder_is_one(
    words: list[str], mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--device", "cpu", *words]
    by_name, _ = run_json(tmp_path, capsys, *words)
    by_folder, _ = run_json(tmp_path, capsys, "--model", str(mine), *words)
    assert by_folder["model"] == "final"
    assert by_name["settings"] == by_folder["settings"]
    assert by_name["settings"]["chat_template"] is ("--no-chat-template" not in words)
    one, two = (pd.read_parquet(Path(found["run"]) / "samples.parquet") for found in (by_name, by_folder))
    pd.testing.assert_frame_equal(one, two)
    names = ("model", "run")
    rows = [
        [{k: v for k, v in row.items() if k not in names} for row in x["scores"]]
        for x in (by_name, by_folder)
    ]
    assert rows[0] == rows[1]


def test_an_adapter_of_the_authors_is_asked_as_they_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, base = cp.write_adapter(tmp_path, cp.BASES["qwen2"] | {"max_position_embeddings": 4096})
    assert base is not None
    write_tokenizer(base)
    definition = tmp_path / "mine.yaml"
    stated = "chat_template: true\nsystem_prompt: You are a helpful assistant.\n"
    definition.write_text(f"model: mine\npath: adapter\nbase: base\n{stated}", encoding="utf-8")
    assert main(["models", "convert", str(adapter), str(tmp_path / "converted"), "--base", str(base)]) == 0
    ways = [["--model", str(adapter), "--base", str(base)], ["--model", str(definition)]]
    ways += [["--model", str(tmp_path / "converted")]]
    found = [run_json(tmp_path / "results", capsys, *way)[0] for way in ways]
    tables = [pd.read_parquet(Path(each["run"]) / "samples.parquet") for each in found]
    for each, table in zip(found, tables, strict=True):
        assert each["settings"] == found[0]["settings"]
        assert each["settings"]["chat_template"] is True
        assert each["settings"]["system_prompt"] == "You are a helpful assistant."
        assert (
            table["prompt"].str.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>").all()
        )
        pd.testing.assert_frame_equal(table, tables[0])


def test_checkpoints_in_folders_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = shutil.copytree(DEMO, tmp_path / "a" / "checkpoint-500")
    early = shutil.copytree(EARLY, tmp_path / "b" / "checkpoint-500")
    results = tmp_path / "results"
    both = ["--model", str(late), "--model", str(early)]
    found, said = run_json(results, capsys, *both)
    assert [each["model"] for each in found] == ["a.checkpoint-500", "b.checkpoint-500"]
    assert "a/checkpoint-500 is called a.checkpoint-500" in said
    manifest = json.loads((Path(found[1]["run"]) / "run.json").read_text(encoding="utf-8"))
    assert manifest["model"] == "b.checkpoint-500"
    assert manifest["checkpoint"] == f"{tmp_path.name}/b/checkpoint-500"

    # The same command finds its runs, and shows what it compares.
    assert main([*WORDS, "--results", str(results), *both]) == 0
    shown = capsys.readouterr().out
    assert shown.count("complete already") == 2
    assert re.search(r"^a\.checkpoint-500  chat template on · .*limit 2", shown, re.MULTILINE)
    assert re.search(r"^b\.checkpoint-500  chat template on · .*limit 2", shown, re.MULTILINE)
    assert "Differences from a.checkpoint-500" in shown

    named, _ = run_json(results, capsys, *both, "--name", "late", "--name", "early")
    assert [each["model"] for each in named] == ["late", "early"]
    assert {path.name for path in results.iterdir()} == {
        "a.checkpoint-500",
        "b.checkpoint-500",
        "early",
        "late",
    }


def test_a_name_can_be_given_in_python(tmp_path: Path) -> None:
    runs = medbench.evaluate(
        "demo", ["pubmedqa"], name="mine", limit=1, results=tmp_path, report=False, quiet=True
    )
    assert runs.models == ["mine"]
    assert runs.runs[0].path.parent == tmp_path / "mine"


def test_one_model_twice_is_evaluated_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied = shutil.copytree(DEMO, tmp_path / "b" / "final")
    other = shutil.copytree(DEMO, tmp_path / "a" / "final")
    words = [*WORDS, "--results", str(tmp_path / "r"), "--model", str(copied), "--model", str(other)]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "nothing to compare" in captured.err
    assert len(list((tmp_path / "r").glob("*/*/run.json"))) == 1


def test_a_table_in_a_pipe_breaks_no_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    task = "mmlu_medical_clinical_knowledge_direct"
    assert main([*WORDS[:2], task, *WORDS[3:], "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    [row] = [line for line in lines if line.startswith(task)]
    assert row.rstrip().endswith("samples")
    [heading] = [line for line in lines if line.startswith("demo  ")]
    assert heading.endswith("engine native")
    for words in ("chat template on", "no system prompt", "float32", "limit 2", "source samples"):
        assert words in heading


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--chat-template"], ["no chat template", "--chat-template", "leave it out"]),
        (["--device", "cuda:99"], ["'cuda:99' cannot be used", "try: cpu"]),
        (["--device", "gpu"], ["no such device", "try: cpu"]),
        (["--name", "a/b"], ["path separator", "--name"]),
        (["--name", ""], ["is not a name", "--name"]),
        (["--name", "a", "--name", "b"], ["2 names for 1 models"]),
        (["--model", "no-such-model"], ["no-such-model"]),
    ],
)
def test_what_is_refused_before_anything_is_done(
    words: list[str], expected: list[str], mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "chat_template.jinja").unlink()
    assert main([*WORDS, "--results", str(tmp_path / "r"), "--model", str(mine), *words]) == 2
    said = capsys.readouterr().err
    for text in expected:
        assert text in said
    assert not (tmp_path / "r").exists()
