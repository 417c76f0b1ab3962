"""A scaffolded task is sound, is found by name from its folder, and its own test passes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medbench.catalog import resolve_tasks
from medbench.checks import check_tasks, new_task
from medbench.data import load, resolve
from medbench.errors import CatalogError, DataError


@pytest.mark.parametrize(
    "like",
    [
        *("medqa", "cmexam_cot", "cmexam_multiple", "ple_tcm_multiple", "ple_pharmacy_single", "pubmedqa"),
        *("promptcblue_cmeie", "promptcblue_kuake_ir_ll", "mmedbench_zh_rationale"),
    ],
)
def test_new_task_is_sound(like: str, tmp_path: Path) -> None:
    folder = new_task("my_task", like, tmp_path)
    report = check_tasks([folder])
    assert report.ok, "\n".join(map(str, report.findings))
    assert report.checked == ("my_task",)


def test_the_test_that_comes_with_a_task_passes(tmp_path: Path) -> None:
    folder = new_task("my_task", "medmcqa", tmp_path)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_new_task_is_found_with_its_documents(tmp_path: Path) -> None:
    folder = new_task("my_task", "medmcqa", tmp_path)
    selection = resolve_tasks(["my_task"], [tmp_path])
    assert [task.name for task in selection.tasks] == ["my_task"]
    assert not selection.tasks[0].shipped
    # lm-eval hands the YAML's path over, which is how the documents beside it are found.
    documents = load(dataset="my_task", config_source=str(folder / "my_task.yaml"))
    assert len(documents["test"]) == 8
    assert resolve("my_task", tasks_dirs=[tmp_path]).kind == "samples"


def test_real_documents_of_a_new_task_come_from_the_data_folder(tmp_path: Path) -> None:
    folder = new_task("my_task", "medmcqa", tmp_path / "tasks")
    data = tmp_path / "data"
    data.mkdir()
    samples = (folder / "samples" / "my_task.jsonl").read_text(encoding="utf-8").splitlines()
    (data / "my_task.jsonl").write_text("\n".join(samples[:5]), encoding="utf-8")
    source = resolve("my_task", data, tasks_dirs=[tmp_path / "tasks"])
    assert source.kind == "folder"
    assert len(load(dataset="my_task", data_dir=data, tasks_dirs=[tmp_path / "tasks"])["test"]) == 5


@pytest.mark.parametrize(
    ("name", "like", "message"),
    [
        ("My Task", "medqa", "cannot be used"),
        ("pubmedqa", "medqa", "taken"),
        ("my_task", "medaq", "no task or folder"),
        ("../evil", "medqa", "cannot be used"),
    ],
)
def test_unusable_wishes_are_refused(name: str, like: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=message):
        new_task(name, like, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "my_task").mkdir()
    with pytest.raises(CatalogError, match="exists"):
        new_task("my_task", "medqa", tmp_path)
    assert list((tmp_path / "my_task").iterdir()) == []


def test_a_dataset_from_outside_cannot_replace_a_shipped_one(tmp_path: Path) -> None:
    new_task("my_task", "medqa", tmp_path)
    register = tmp_path / "my_task" / "sources.yaml"
    register.write_text(
        register.read_text(encoding="utf-8").replace("my_task: {}", "medqa_us: {}"), encoding="utf-8"
    )
    with pytest.raises(DataError, match="exists already"):
        resolve("medqa_us", tasks_dirs=[tmp_path])
