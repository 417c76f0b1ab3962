"""What people get wrong ends with one readable message, what to do, and exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.cli.main import main

MISSPELLED = """\
task: misspelled
doc_to_txt: question
metadata:
  version: 1.0
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tasks", "pubmedqaa"], ["pubmedqaa", "pubmedqa"]),
        (["--tasks", "nothing_like_it_at_all"], ["nothing_like_it_at_all", "medbench tasks list"]),
        (["--model", "no-such-model"], ["no-such-model", "medbench models list"]),
        (["--limit", "0"], ["'limit' is 0, expected a positive whole number", "--limit"]),
        (["--limit", "many"], ["--limit"]),
        (["--limt", "3"], ["--limt", "--limit"]),
        (["--routing", "everything"], ["everything", "'tasks', 'documents'"]),
        (["--max-batch-tokens", "lots"], ["lots", "auto"]),
        (["--tasks", "pubmedqa", "--data-dir", "/nowhere/at/all"], ["/nowhere/at/all"]),
        (["--tasks", "pubmedqa", "--source", "cloud"], ["cloud", "samples"]),
        (["--tasks", "pubmedqa", "--dtype", "float99"], ["float99", "float32"]),
        (["--tasks", "medqa_us", "--num-fewshot", "2"], ["medqa_us", "--num-fewshot 0"]),
    ],
)
def test_run(
    words: list[str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["run", "--results", str(tmp_path / "results"), *words])
    message = capsys.readouterr().err
    assert status == 2
    assert "Traceback" not in message
    for part in expected:
        assert part in message
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_empty_data_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    status = main(
        ["run", "--tasks", "pubmedqa", "--data-dir", str(tmp_path / "data"), "--results", str(tmp_path / "r")]
    )
    message = capsys.readouterr().err
    assert status == 2
    assert str(tmp_path / "data") in message
    assert "pubmedqa" in message


def test_a_misspelled_key_in_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "misspelled.yaml").write_text(MISSPELLED, encoding="utf-8")
    status = main(
        ["run", "--tasks", "misspelled", "--tasks-dir", str(folder), "--results", str(tmp_path / "r")]
    )
    message = capsys.readouterr().err
    assert status == 2
    assert "doc_to_txt" in message
    assert "doc_to_text" in message
    assert "misspelled.yaml" in message


def test_a_results_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = tmp_path / "results"
    blocker.write_text("in the way", encoding="utf-8")
    status = main(["run", "--tasks", "pubmedqa", "--limit", "1", "--results", str(blocker)])
    message = capsys.readouterr().err
    assert status == 2
    assert "--results" in message
    assert blocker.read_text(encoding="utf-8") == "in the way"
