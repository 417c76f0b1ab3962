"""``medbench tasks``, ``data`` and ``models`` from the command line: what they print and how they end."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medbench.cli.main import main
from medbench.data import dataset_names

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MEDBENCH_DATA", "MEDBENCH_LOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def answer(capsys: pytest.CaptureFixture[str], *words: str | Path, status: int = 0) -> Any:
    """Run a command that prints JSON."""
    assert main([*map(str, words), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def complaint(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Run a command that is refused: exit status 2, one message, no traceback."""
    assert main([*map(str, words)]) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


def test_tasks_are_listed_with_their_data(capsys: pytest.CaptureFixture[str]) -> None:
    listed = answer(capsys, "tasks", "list")
    rows = {row["name"]: row for row in listed["tasks"]}
    assert (rows["pubmedqa"]["n"], rows["pubmedqa"]["source"], rows["pubmedqa"]["licence"]) == (
        12,
        "samples",
        "MIT",
    )
    assert {"ming_moe", "promptcblue"} <= {group["name"] for group in listed["groups"]}
    english = answer(capsys, "tasks", "list", "--language", "en", "--tag", "cot")["tasks"]
    assert english
    assert all(row["language"] == "en" and "cot" in row["tags"] for row in english)


def test_tasks_are_listed_with_the_data_of_a_folder(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    rows = {
        row["name"]: row for row in answer(capsys, "tasks", "list", "--data-dir", shared / "data")["tasks"]
    }
    assert (rows["pubmedqa"]["n"], rows["pubmedqa"]["source"]) == (500, "folder")
    assert rows["medmcqa"]["n"] == 4183
    assert rows["ple_tcm_cot"]["source"] == "missing"


def test_listing_takes_less_than_a_second_of_computing() -> None:
    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def listing() -> float:
        before = children()
        subprocess.run(
            [sys.executable, "-m", "medbench", "tasks", "list"], check=True, capture_output=True, cwd=CHECKOUT
        )
        return children() - before

    # The first call may have to compile; a busy machine may take longer once.
    assert any(listing() < 1.0 for _ in range(3))


def test_a_task_is_shown_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    shown = answer(capsys, "tasks", "show", "promptcblue_cmeee_v2")
    assert shown["settings"]["process_results"].startswith("!function medbench.scoring.promptcblue")
    assert shown["dataset"] == "promptcblue_cmeee_v2"
    assert len(answer(capsys, "tasks", "show", "ming_moe")["members"]) == 25
    assert "pubmedqa" in complaint(capsys, "tasks", "show", "pubmdqa")


def test_a_new_task_is_checked_from_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = answer(capsys, "tasks", "new", "my_exam", "--like", "medqa", "--into", tmp_path)
    assert len(made["files"]) == 4
    folder = tmp_path / "my_exam"
    report = answer(capsys, "tasks", "check", folder)
    assert (report["checked"], report["findings"]) == (["my_exam"], [])
    assert len(report["renderings"]) == 3
    assert main(["tasks", "check", str(folder)]) == 0
    assert "Question: " in capsys.readouterr().out
    text = (folder / "my_exam.yaml").read_text(encoding="utf-8")
    (folder / "my_exam.yaml").write_text(text.replace("doc_to_text", "doc_to_txt"), encoding="utf-8")
    report = answer(capsys, "tasks", "check", folder, "--static", status=1)
    (finding,) = (f for f in report["findings"] if f["code"] == "unknown-key")
    assert finding["line"] == text.splitlines().index("doc_to_text: |-") + 1
    assert finding["file"].endswith("my_exam.yaml")


def test_terminal_escapes_of_a_definition_are_not_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "evil.yaml").write_text('task: "evil\\e[2J"\n', encoding="utf-8")
    main(["tasks", "check", str(tmp_path), "--static"])
    main(["tasks", "list", "--tasks-dir", str(tmp_path)])
    assert "\x1b[2J" not in capsys.readouterr().out


def test_datasets_are_listed_with_their_terms(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["dataset"]: row for row in answer(capsys, "data", "list")}
    assert set(rows) == set(dataset_names())
    assert rows["mmlu_anatomy"]["hub"] == "cais/mmlu"
    assert rows["mmlu_anatomy"]["revision"] == "not pinned"
    assert all(row["licence"] and row["citation"] for row in rows.values())


def test_a_folder_is_verified(capsys: pytest.CaptureFixture[str], shared: Path, tmp_path: Path) -> None:
    states = answer(capsys, "data", "verify", "pubmedqa", "--data-dir", shared / "data")
    assert {state["path"] for state in states} == {
        "pubmedqa/ori_pqal.json",
        "pubmedqa/test_ground_truth.json",
    }
    assert {state["state"] for state in states} == {"ok"}
    (tmp_path / "mmlu" / "test").mkdir(parents=True)
    (tmp_path / "mmlu" / "test" / "anatomy_test.csv").write_text("changed", encoding="utf-8")
    states = answer(capsys, "data", "verify", "mmlu_anatomy", "--data-dir", tmp_path, status=1)
    assert [state["state"] for state in states] == ["differs", "missing"]
    assert "no data folder" in complaint(capsys, "data", "verify")


def test_fetching_names_what_has_to_be_put_there_by_hand(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = answer(capsys, "data", "fetch", "mmlu_anatomy", "--data-dir", tmp_path)
    assert {result["outcome"] for result in results} == {"by hand"}
    assert all(result["note"] for result in results)
    refused = complaint(
        capsys, "data", "fetch", "pubmedqa", "--data-dir", tmp_path, "--from", "http://127.0.0.1:9"
    )
    assert "download failed" in refused


def test_data_is_locked(capsys: pytest.CaptureFixture[str], shared: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    done = answer(
        capsys, "data", "lock", "medqa_us", "mmlu_anatomy", "--data-dir", shared / "data", "-o", lock
    )
    assert done["locked"] == ["medqa_us", "mmlu_anatomy"]
    recorded = json.loads(lock.read_text(encoding="utf-8"))["datasets"]
    assert recorded["mmlu_anatomy"]["documents"] == {"test": 135, "dev": 5}
    assert len(recorded["medqa_us"]["fingerprint"]) == 64


def test_duplicates_are_counted(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    names = ("mmlu_clinical_knowledge", "mmlu_college_medicine")
    found = answer(capsys, "data", "duplicates", *names, "--data-dir", shared / "data")
    assert len(found) == 83
    assert main(["data", "duplicates", *names, "--data-dir", str(shared / "data"), "--limit", "1"]) == 0
    assert "83 questions occur more than once among 2 datasets" in capsys.readouterr().out


def test_raw_files_are_converted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    raw, templates, output = (
        tmp_path / "CHIP-STS_dev.json",
        tmp_path / "templates.json",
        tmp_path / "out.jsonl",
    )
    raw.write_text(json.dumps([{"id": "1", "text1": "甲", "text2": "乙", "label": "0"}]), encoding="utf-8")
    templates.write_text(
        json.dumps({"CHIP-STS": ["“[INPUT_TEXT_1]”，“[INPUT_TEXT_2]”\\n答："]}), encoding="utf-8"
    )
    words = ("data", "convert-cblue", raw, "--task", "CHIP-STS", "--templates", templates, "-o", output)
    assert answer(capsys, *words)["rows"] == 1
    row = json.loads(output.read_text(encoding="utf-8"))
    assert (row["input"], row["target"]) == ("“甲”，“乙”\n答：", "不是")
    assert "cannot be converted" in complaint(capsys, *words[:4], "KUAKE-QQR", *words[5:])


def test_models_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"demo", "ming-moe-7b"} <= {model["model"] for model in answer(capsys, "models", "list")}
    shown = answer(capsys, "models", "show", "ming-moe-1.8b", "--base", "./base")
    assert (shown["base"], shown["layout"]) == ("./base", "adapter")
    assert "did you mean demo" in complaint(capsys, "models", "show", "dmo")


def test_a_checkpoint_is_checked_and_converted(
    capsys: pytest.CaptureFixture[str], shared: Path, tmp_path: Path
) -> None:
    cases = sorted(path.parent for path in (shared / "golden" / "checkpoints").rglob("adapter_config.json"))
    if not cases:
        pytest.skip(f"no adapter below {shared / 'golden' / 'checkpoints'}")
    adapter = cases[0]
    base = adapter.parent / "base"
    report = answer(capsys, "models", "check", adapter, "--base", base, "--no-read")
    assert report["ok"]
    assert "experts" in json.dumps(report)
    written = answer(capsys, "models", "convert", adapter, tmp_path / "converted", "--base", base)["written"]
    assert answer(capsys, "models", "check", written, "--no-read")["ok"]
    broken = answer(capsys, "models", "check", adapter, status=1)
    assert broken["problems"]


def test_nonsense_is_refused_in_one_message(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nowhere" in complaint(capsys, "tasks", "check", "nowhere")
    assert "nowhere" in complaint(capsys, "tasks", "list", "--tasks-dir", "nowhere")
    assert "'internet' is not one of" in complaint(capsys, "data", "lock", "pubmedqa", "--source", "internet")
    assert "no dataset" in complaint(capsys, "data", "verify", "pubmed", "--data-dir", tmp_path)
    assert "'int8' is not one of" in complaint(
        capsys, "models", "convert", tmp_path, tmp_path / "x", "--dtype", "int8"
    )


@pytest.mark.parametrize(
    ("filters", "hint"),
    [
        (["--tag", "nope"], "there are"),
        (["--tag", "exm"], "did you mean exam?"),
        (["--tag", "exam", "--tag", "vet"], "there are"),
        (["--tag", ""], "there are"),
        (["--language", "de"], "there are en, zh"),
        (["--language", "zhh"], "did you mean zh?"),
        (["--language", ""], "there are en, zh"),
        (["--tag", "matching", "--language", "en"], "leaves tasks out"),
    ],
)
def test_filters_that_no_task_passes_are_refused(
    filters: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hint in complaint(capsys, "tasks", "list", *filters)
