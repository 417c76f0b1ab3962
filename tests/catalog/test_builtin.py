"""Tasks that come with lm-eval, asked for by names of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medbench.catalog import builtin, resolve_tasks
from medbench.errors import CatalogError
from medbench.runs.loading import load_tasks
from medbench.runs.settings import RunSettings

TASK = """
dataset_path: json
dataset_kwargs: {data_files: DATA}
test_split: train
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: gold
doc_to_choice: ["a", "b"]
"""


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """lm-eval with a handful of tasks, one of which has the name of a shipped one."""
    from lm_eval.tasks import TaskManager

    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "?", "gold": 1}\n{"question": "!", "gold": 0}\n', encoding="utf-8")
    folder = tmp_path / "tasks"
    folder.mkdir()
    text = TASK.replace("DATA", data.as_posix())
    for name in ("pubmedqa", "arc_one", "arc_two"):
        tag = "tag: arc\n" if name != "pubmedqa" else ""
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{tag}{text}", encoding="utf-8")
    (folder / "code.yaml").write_text(
        f"task: code\n{text}process_docs: !function own.process\n", encoding="utf-8"
    )
    (folder / "own.py").write_text("def process(docs):\n    return docs\n", encoding="utf-8")
    (folder / "unsafe.yaml").write_text(f"task: unsafe\n{text}unsafe_code: true\n", encoding="utf-8")
    (folder / "twice.yaml").write_text(f"task: twice\n{text}test_split: train\n", encoding="utf-8")
    (folder / "all.yaml").write_text("group: all\ntask: [arc, pubmedqa]\n", encoding="utf-8")
    (folder / "hub.yaml").write_text(f"task: hub\n{text}dataset_path: some/dataset\n", encoding="utf-8")
    index = TaskManager(include_path=str(folder), include_defaults=False).task_index
    monkeypatch.setattr(builtin, "_entries", lambda: index)
    builtin.builtin_index.cache_clear()
    yield folder
    builtin.builtin_index.cache_clear()


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("lm_eval/arc_one", ["lm_eval/arc_one"]),
        ("lm_eval/pubmedqa", ["lm_eval/pubmedqa"]),
        ("lm_eval/arc", ["lm_eval/arc_one", "lm_eval/arc_two"]),
        ("lm_eval/arc_*", ["lm_eval/arc_one", "lm_eval/arc_two"]),
        ("lm_eval/all", ["lm_eval/arc_one", "lm_eval/arc_two", "lm_eval/pubmedqa"]),
        ("lm_eval/code", ["lm_eval/code"]),
    ],
)
def test_names_groups_tags_and_patterns_select(few: Path, asked: str, names: list[str]) -> None:
    selection = resolve_tasks([asked])
    assert [task.name for task in selection.tasks] == names
    assert all(task.builtin and not task.shipped for task in selection.tasks)
    for group in selection.groups:
        assert group.name == "lm_eval/all"
        assert list(group.members) == names


def test_a_name_that_both_have_means_two_tasks(few: Path) -> None:
    own, theirs = resolve_tasks(["pubmedqa", "lm_eval/pubmedqa"]).tasks
    assert (own.name, own.shipped) == ("pubmedqa", True)
    assert (theirs.name, theirs.shipped) == ("lm_eval/pubmedqa", False)
    assert own.digest != theirs.digest


def test_no_name_from_outside_passes_for_one_of_these(few: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "one.yaml").write_text(f"task: lm_eval/arc_one\ntag: sly\n{TASK}", encoding="utf-8")
    with pytest.raises(CatalogError, match="of one of lm-eval's own and of one from outside"):
        resolve_tasks(["sly", "lm_eval/arc_one"], [mine], allow_code=True)
    assert not resolve_tasks(["sly"], [mine], allow_code=True).tasks[0].builtin


def test_a_task_is_loaded_under_its_longer_name(few: Path) -> None:
    selection = resolve_tasks(["lm_eval/arc_one", "lm_eval/code"])
    tasks, failures = load_tasks(selection.tasks, RunSettings())
    assert failures == {}
    assert [str(task.config.task) for task in tasks.values()] == ["lm_eval/arc_one", "lm_eval/code"]
    assert len(tasks["lm_eval/arc_one"].eval_docs) == 2


def test_unknown_names_suggest_the_nearest(few: Path) -> None:
    with pytest.raises(CatalogError, match="among those that come with lm-eval") as caught:
        resolve_tasks(["lm_eval/arc_oen"])
    assert "arc_one" in str(caught.value.hint)


def test_code_that_a_task_writes_for_the_model_needs_leave(few: Path) -> None:
    with pytest.raises(CatalogError, match="unsafe_code"):
        resolve_tasks(["lm_eval/unsafe"])
    assert resolve_tasks(["lm_eval/unsafe"], allow_code=True).tasks


def test_documents_that_cannot_be_had_are_said(few: Path) -> None:
    tasks, failures = load_tasks(resolve_tasks(["lm_eval/hub"]).tasks, RunSettings())
    assert tasks == {}
    assert "neither on this machine nor can the hub be reached" in str(failures["lm_eval/hub"])
    assert "some/dataset" in str(failures["lm_eval/hub"])


def test_a_plain_unknown_name_points_there(few: Path) -> None:
    with pytest.raises(CatalogError, match="no task, group or tag") as caught:
        resolve_tasks(["truthfulqa_mc1"])
    assert "lm_eval/truthfulqa_mc1" in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.ci
def test_lm_evals_own_tasks_are_there() -> None:
    builtin.builtin_index.cache_clear()
    names = ["arc_easy", "hellaswag", "winogrande", "lambada_openai", "wikitext", "gsm8k", "mmlu_anatomy"]
    selection: Any = resolve_tasks([f"lm_eval/{name}" for name in (*names, "mmlu_stem", "squadv2")])
    found = {task.name for task in selection.tasks}
    assert {f"lm_eval/{name}" for name in names} <= found
    assert "lm_eval/mmlu_college_physics" in found
    assert [group.name for group in selection.groups] == ["lm_eval/mmlu_stem"]
