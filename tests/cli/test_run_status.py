"""The exit status of a run says whether all went well, whatever is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbench.cli.main import main

TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: ["A", "B"]
doc_to_target: answer
metric_list: [{{metric: acc}}]
metadata: {{version: 1.0}}
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (tmp_path / "there.jsonl").write_text('{"question": "Which?", "answer": "A"}\n' * 3, encoding="utf-8")
    for name, data in (("good", "there"), ("bad", "not_there")):
        text = TASK.format(name=name, data=tmp_path / f"{data}.jsonl")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return ["run", "--tasks-dir", str(folder), "--results", str(tmp_path / "results"), "--no-report"]


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_status(words: list[str], extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, *extra, "--tasks", "good"]) == 0
    capsys.readouterr()
    for _ in range(2):  # a failed task is tried again, and fails again
        assert main([*words, *extra, "--tasks", "good,bad"]) == 1
        shown = capsys.readouterr().out
        if extra:
            content = json.loads(shown)
            assert list(content["failures"]) == ["bad"]
            assert {row["task"] for row in content["scores"]} == {"good"}
        else:
            assert "bad failed" in shown
            assert "good" in shown
    assert main([*words, *extra, "--tasks", "bad"]) == 2
    Path(words[2]).parent.joinpath("not_there.jsonl").write_text(
        '{"question": "Who?", "answer": "B"}\n', encoding="utf-8"
    )
    assert main([*words, *extra, "--tasks", "good,bad"]) == 0


def test_one_model_of_several_that_fails_a_task_is_enough(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-m", "demo", "-m", "demo-early", "--tasks", "good,bad"]) == 1
    assert capsys.readouterr().out.count("bad failed") == 2
