"""Finding definitions: shipped and foreign, groups and tags, and names that are nearly right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medbench.catalog import build_index, resolve_tasks
from medbench.errors import CatalogError

SUITE = 25


def task(folder: Path, name: str, body: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(f"task: {name}\n{body}", encoding="utf-8")
    return path


def test_the_suite_has_its_tasks() -> None:
    selection = resolve_tasks(["ming_moe"])
    datasets = {task.dataset for task in selection.tasks}
    assert len([name for name in datasets if name and name.startswith("promptcblue_")]) == 16
    exams = {"medqa_us", "medmcqa", "cmb_exam", "cmexam", "ple_pharmacy", "ple_tcm"}
    subjects = {"mmlu_anatomy", "cmmlu_anatomy", "ceval_physician"}
    assert exams | subjects <= datasets
    assert len(build_index().groups["ming_moe"].members) == SUITE


@pytest.mark.parametrize("name", ["ming_moe", "promptcblue", "exams_zh", "exams_en", "medbench_all"])
def test_groups_are_there(name: str) -> None:
    assert resolve_tasks([name]).tasks


def test_every_shipped_task_says_what_selects_it() -> None:
    for name, definition in build_index().tasks.items():
        assert definition.shipped, name
        assert definition.language in definition.tags, name
        assert definition.version is not None, name
        assert len(definition.digest) == 64, name


def test_no_task_occurs_twice() -> None:
    names = [task.name for task in resolve_tasks(["medbench_all", "ming_moe", "zh", "pubmedqa"]).tasks]
    assert len(names) == len(set(names))


def test_tags_and_patterns_select() -> None:
    english = resolve_tasks(["en"]).tasks
    assert english
    assert all(task.language == "en" for task in english)
    assert {task.dataset for task in resolve_tasks(["mmlu_medical_*"]).tasks if task.dataset}


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(CatalogError, match="pubmedqa") as caught:
        resolve_tasks(["pubmdqa"])
    assert caught.value.exit_status == 2


def test_indexing_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from medbench.catalog import build_index; build_index()\n"
        "print({'torch', 'lm_eval', 'datasets', 'pandas', 'transformers'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_foreign_tasks_join_and_never_replace(tmp_path: Path) -> None:
    task(tmp_path / "a", "my_task", "tag: [zh, mine]\n")
    index = build_index([tmp_path])
    assert not index.tasks["my_task"].shipped
    assert index.tags["mine"] == ("my_task",)
    task(tmp_path / "b", "pubmedqa")
    index = build_index([tmp_path])
    longer = f"{tmp_path.name}/pubmedqa"
    assert index.tasks["pubmedqa"].shipped
    assert index.tasks[longer].name == longer
    (found,) = resolve_tasks([longer], [tmp_path]).tasks
    assert (found.name, found.shipped) == (longer, False)
    with pytest.raises(CatalogError, match="of a shipped task and of one from outside") as caught:
        resolve_tasks(["pubmedqa"], [tmp_path])
    assert longer in str(caught.value.hint)
    # Neither a shipped group nor another name is touched by it.
    assert all(definition.shipped for definition in resolve_tasks(["medbench_all"], [tmp_path]).tasks)


def test_a_name_twice_in_a_folder_is_a_fault_of_that_name_alone(tmp_path: Path) -> None:
    task(tmp_path / "a", "twice")
    task(tmp_path / "b", "twice", "tag: other\n")
    task(tmp_path / "c", "once")
    assert [found.name for found in resolve_tasks(["once"], [tmp_path]).tasks] == ["once"]
    with pytest.raises(CatalogError, match="'twice' is taken by"):
        resolve_tasks(["twice"], [tmp_path])


def test_a_group_means_the_tasks_of_its_own_folder(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    task(mine, "pubmedqa")
    (mine / "group.yaml").write_text("group: my_group\ntask: [pubmedqa, medqa_us]\n", encoding="utf-8")
    selection = resolve_tasks(["my_group"], [mine])
    assert [found.name for found in selection.tasks] == ["mine/pubmedqa", "medqa_us"]
    assert selection.groups[0].members == ("mine/pubmedqa", "medqa_us")


def test_one_broken_file_hides_no_other(tmp_path: Path) -> None:
    task(tmp_path, "good")
    task(tmp_path, "bad", "tag: [zh\n")
    index = build_index([tmp_path])
    assert "good" in index.tasks
    assert [path.name for path, _ in index.faults] == ["bad.yaml"]
    with pytest.raises(CatalogError, match=r"bad\.yaml"):
        resolve_tasks(["bad"], [tmp_path])


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="nowhere"):
        build_index([tmp_path / "nowhere"])


def test_groups_that_contain_each_other_are_refused(tmp_path: Path) -> None:
    for name, member in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.yaml").write_text(f"group: {name}\ntask: [{member}]\n", encoding="utf-8")
    with pytest.raises(CatalogError, match="one > two > one"):
        resolve_tasks(["one"], [tmp_path])


def test_digest_follows_includes_and_code(tmp_path: Path) -> None:
    body = "include: _template\nprocess_results: !function own.score\n"
    task(tmp_path, "mine", body)
    template, code = tmp_path / "_template", tmp_path / "own.py"
    template.write_text("test_split: test\n", encoding="utf-8")
    code.write_text("def score(doc, results): ...\n", encoding="utf-8")
    first = build_index([tmp_path]).tasks["mine"].digest
    assert build_index([tmp_path]).tasks["mine"].digest == first
    template.write_text("test_split: dev\n", encoding="utf-8")
    second = build_index([tmp_path]).tasks["mine"].digest
    code.write_text("def score(doc, results): return {}\n", encoding="utf-8")
    assert len({first, second, build_index([tmp_path]).tasks["mine"].digest}) == 3


def test_merging_agrees_with_lm_eval() -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    from medbench.common.yaml_files import Function

    def plain(value: object) -> object:
        if isinstance(value, Function):
            return str(value.folder / value.name)
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    for definition in build_index().tasks.values():
        theirs = load_yaml(definition.path, resolve_func=False)
        assert plain(dict(definition.merged.values)) == theirs, definition.name


def test_lm_eval_reads_every_shipped_definition() -> None:
    from lm_eval.tasks import TaskManager

    index = build_index()
    manager = TaskManager(include_path=[str(index.folders[0])], include_defaults=False)
    assert {*index.tasks, *index.groups} <= set(manager.all_tasks) | set(manager.all_groups)
