from __future__ import annotations

from pathlib import Path

import pytest

from medbench.errors import RunError
from medbench.runs.directory import find_run, new_run, safe_name, write_json

HASH = "0123456789abcdef"


def test_the_newest_run_of_a_plan_is_found(tmp_path: Path) -> None:
    assert find_run(tmp_path, "demo", HASH) is None
    first = new_run(tmp_path, "demo", HASH)
    second = new_run(tmp_path, "demo", HASH)
    other = new_run(tmp_path, "demo", "f" * 16)
    assert first != second
    assert find_run(tmp_path, "demo", HASH) == second
    assert find_run(tmp_path, "demo", "f" * 16) == other
    assert find_run(tmp_path, "another", HASH) is None


def test_status_comes_from_the_manifest(tmp_path: Path) -> None:
    run = new_run(tmp_path, "demo", HASH)
    assert run.status() == "new"
    write_json(run.manifest, {"status": "complete"})
    assert run.status() == "complete"


def test_a_run_is_locked_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = new_run(tmp_path, "demo", HASH)
    with run.lock(), pytest.raises(RunError, match="another process"):
        run.lock()
    run.lock().close()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Qwen/Qwen1.5-1.8B-Chat", "Qwen_Qwen1.5-1.8B-Chat"),
        ("../../etc", "etc"),
        ("模型 一", "模型_一"),
        ("..", "model"),
    ],
)
def test_any_model_name_makes_one_safe_folder(name: str, folder: str) -> None:
    assert safe_name(name) == folder


def test_an_unwritable_results_folder_is_reported(tmp_path: Path) -> None:
    blocker = tmp_path / "results"
    blocker.write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot create the results folder") as caught:
        new_run(blocker, "demo", HASH)
    assert "--results" in str(caught.value)
