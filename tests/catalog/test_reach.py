"""Tasks from outside read their own folders and the hub's data sets; the rest needs leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medbench.catalog import build_index, resolve_tasks
from medbench.errors import CatalogError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with tasks and data, and secrets beside it."""
    project = tmp_path / "home" / "project"
    (project / "tasks").mkdir(parents=True)
    (project / "data").mkdir()
    (project / ".hidden").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for path in (
        project / "tasks" / "own.jsonl",
        project / "data" / "near.jsonl",
        project / "near.csv",
        project / "notes.txt",
        project / "key.pem",
        project / ".hidden" / "token.json",
        tmp_path / "elsewhere" / "secret.json",
        tmp_path / "home" / "diary.txt",
    ):
        path.write_text('{"question": "q"}\n', encoding="utf-8")
    os.mkfifo(project / "tasks" / "pipe.json")
    (project / "data" / "inner").mkdir()
    (project / "tasks" / "link.jsonl").symlink_to(tmp_path / "elsewhere" / "secret.json")
    monkeypatch.chdir(project)
    monkeypatch.delenv("MEDBENCH_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return project


def define(project: Path, body: str) -> None:
    text = f"task: mine\ndoc_to_text: '{{{{question}}}}'\n{body}\n"
    text = text.replace("PROJECT", str(project)).replace("OUTSIDE", str(project.parents[1] / "elsewhere"))
    (project / "tasks" / "mine.yaml").write_text(text, encoding="utf-8")


JSON = "dataset_path: json\ndataset_kwargs: "


@pytest.mark.parametrize(
    "body",
    [
        JSON + "{data_files: tasks/own.jsonl}",
        JSON + "{data_files: ./tasks/own.jsonl}",
        JSON + "{data_files: {test: PROJECT/tasks/own.jsonl}}",
        JSON + "{data_files: {test: [data/near.jsonl], dev: ['data/*.jsonl']}}",
        JSON + "{data_files: PROJECT/data/near.jsonl, field: rows}",
        JSON + "{data_files: not_there_yet.jsonl}",
        JSON + "{data_dir: data}",
        "dataset_path: csv\ndataset_kwargs: {data_files: near.csv, sep: ';', header: 0, column_names: [a]}",
        "dataset_path: ./data",
        "dataset_path: PROJECT/data",
        "dataset_path: someone/dataset\ndataset_name: main",
        "dataset_path: hf://datasets/someone/dataset",
        "dataset_path: someone/dataset\ndataset_kwargs: {data_files: {test: en/x.json.gz}, revision: abc}",
        JSON + "{data_files: {validation: 'hf://datasets/someone/dataset/data/x.jsonl'}}",
        "dataset_path: someone/dataset\ndataset_kwargs: {trust_remote_code: false}",
        "use_prompt: 'qa-basic:question-newline-answer'",
    ],
)
def test_own_data_needs_no_leave(body: str, project: Path) -> None:
    define(project, body)
    assert resolve_tasks(["mine"], [project / "tasks"]).tasks[0].name == "mine"
    assert resolve_tasks(["mine"], ["tasks"]).tasks[0].name == "mine"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (JSON + "{data_files: OUTSIDE/secret.json}", "outside its folders"),
        (JSON + "{data_files: ../../elsewhere/secret.json}", "outside its folders"),
        (JSON + "{data_files: {test: [tasks/own.jsonl, OUTSIDE/secret.json]}}", "outside its folders"),
        (JSON + "{data_files: 'OUTSIDE/*.json'}", "outside its folders"),
        (JSON + "{data_files: '../../*/secret.json'}", "outside its folders"),
        (JSON + "{data_files: '/**/no_such_file_anywhere.json'}", "outside its folders"),
        (JSON + "{data_files: '/*/../etc/passwd'}", "outside its folders"),
        (JSON + "{data_files: /dev/zero}", "outside its folders"),
        (JSON + "{data_files: 'data/*/../../../../elsewhere/secret.json'}", "outside its folders"),
        (JSON + "{data_files: 'tasks/?ipe.json'}", "no file of data"),
        (JSON + "{data_files: tasks/link.jsonl}", "outside its folders"),
        (JSON + "{data_files: 'tasks/*.jsonl'}", "outside its folders"),
        (JSON + "{data_files: .hidden/token.json}", "outside its folders"),
        (JSON + "{data_files: key.pem}", "no file of data"),
        (JSON + "{data_files: /etc/passwd}", "outside its folders"),
        (JSON + "{data_files: 'file:///etc/passwd'}", "over the network"),
        (JSON + "{data_files: 'https://example.org/x.json'}", "over the network"),
        (JSON + "{data_files: 's3://bucket/x.json'}", "over the network"),
        (JSON + "{data_files: 'zip://x.json::https://example.org/x.zip'}", "over the network"),
        (JSON + "{data_files: 'hf://datasets/a/b/x::file:///etc/passwd'}", "over the network"),
        (JSON + "{data_files: '~/diary.txt'}", "outside its folders"),
        (JSON + "{data_dir: OUTSIDE}", "outside its folders"),
        (JSON + "{data_dir: tasks}", "leads out"),
        ("dataset_path: text\ndataset_kwargs: {data_files: notes.txt}", "outside its folders"),
        ("dataset_path: text\ndataset_kwargs: {data_files: ../diary.txt}", "outside its folders"),
        ("dataset_path: OUTSIDE", "outside its folders"),
        ("dataset_path: ../../elsewhere", "outside its folders"),
        ("dataset_path: tasks", "leads out"),
        ("dataset_path: 'https://example.org/x'", "over the network"),
        ("dataset_path: buckets/someone/b", "neither a loader"),
        ("dataset_path: sql", "neither a loader"),
        ("dataset_path: webdataset", "neither a loader"),
        ("dataset_path: someone/dataset\ndataset_kwargs: {data_files: /etc/passwd}", "outside its folders"),
        ("dataset_path: someone/dataset\ndataset_kwargs: {data_files: ../../../etc/passwd}", "outside"),
        ("dataset_path: someone/dataset\ndataset_kwargs: {trust_remote_code: true}", "trust_remote_code"),
        ("dataset_path: someone/dataset\ndataset_kwargs: {cache_dir: /tmp/x}", "no setting"),
        ("dataset_path: someone/dataset\ndataset_kwargs: {token: x}", "no setting"),
        ("dataset_path: someone/dataset\ndataset_kwargs: {storage_options: {}}", "no setting"),
        ("dataset_path: someone/dataset\ndataset_kwargs: {download_config: {}}", "no setting"),
        (
            "custom_dataset: !function medbench.data.load\ndataset_kwargs: {tasks_dirs: [/home]}",
            "no setting",
        ),
        ("metadata: {tasks_dirs: [/home]}", "names folders"),
        ("use_prompt: '/etc/prompts.yaml:x'", "read from elsewhere"),
        ("use_prompt: 'promptsource:x'", "read from elsewhere"),
        ("repeats: 1000000000", "repeats"),
        ("include: OUTSIDE/secret.json", "outside its folders"),
    ],
)
def test_other_data_needs_leave(body: str, message: str, project: Path) -> None:
    define(project, body)
    with pytest.raises(CatalogError, match=message) as caught:
        resolve_tasks(["mine"], [project / "tasks"])
    assert "mine.yaml" in str(caught.value) or "secret.json" in str(caught.value)
    assert "--allow-code" in str(caught.value)
    assert resolve_tasks(["mine"], [project / "tasks"], allow_code=True).tasks[0].name == "mine"


def test_a_listing_reads_nothing_that_a_task_names(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medbench.catalog.inputs import Inputs

    def read(*_: object, **__: object) -> set[tuple[str, str]]:
        raise AssertionError("read before it was trusted")

    define(project, JSON + "{data_files: '/**/no_such_file_anywhere.json'}")
    monkeypatch.setattr(Inputs, "parts", read)
    task = build_index([project / "tasks"]).tasks["mine"]
    assert task.to_dict()["digest"] is None
    with pytest.raises(CatalogError, match="outside its folders"):
        resolve_tasks(["mine"], [project / "tasks"])


def test_the_data_folder_may_be_read(project: Path) -> None:
    elsewhere = project.parents[1] / "elsewhere"
    define(project, JSON + "{data_files: OUTSIDE/secret.json}")
    assert resolve_tasks(["mine"], ["tasks"], data_dir=elsewhere).tasks
    with pytest.raises(CatalogError, match="outside its folders"):
        resolve_tasks(["mine"], ["tasks"])


def test_the_data_folder_of_the_environment_may_be_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(project, JSON + "{data_files: OUTSIDE/secret.json}")
    monkeypatch.setenv("MEDBENCH_DATA", str(project.parents[1] / "elsewhere"))
    assert resolve_tasks(["mine"], ["tasks"]).tasks


def test_the_home_folder_is_not_near(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works in the home folder, or keeps tasks there, has not laid it open."""
    home = project.parent
    (home / "accounts.csv").write_text("a\n1\n", encoding="utf-8")
    define(project, "dataset_path: csv\ndataset_kwargs: {data_files: '~/accounts.csv'}")
    monkeypatch.chdir(home)
    (home / "tasks").symlink_to(project / "tasks")
    for folder in ("project/tasks", "tasks"):
        with pytest.raises(CatalogError, match="outside its folders"):
            resolve_tasks(["mine"], [folder])


@pytest.mark.parametrize("key", ["configs", "data_files", "builder_name"])
def test_a_data_set_card_names_no_files(key: str, project: Path) -> None:
    define(project, "dataset_path: data")
    card = project / "data" / "README.md"
    card.write_text("---\nlicense: mit\n---\ntext about data_files: see below\n", encoding="utf-8")
    assert resolve_tasks(["mine"], ["tasks"]).tasks
    card.write_text(f"---\n{key}:\n- config_name: x\n  data_files: /etc/passwd\n---\n", encoding="utf-8")
    with pytest.raises(CatalogError, match="names files of its own"):
        resolve_tasks(["mine"], ["tasks"])


def test_templates_of_a_neighboring_folder_may_be_included(project: Path) -> None:
    (project / "common").mkdir()
    (project / "common" / "_base").write_text("doc_to_target: answer\n", encoding="utf-8")
    define(project, "include: ../common/_base")
    assert resolve_tasks(["mine"], ["tasks"]).tasks[0].merged.values["doc_to_target"] == "answer"
