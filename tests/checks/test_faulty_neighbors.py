"""One faulty definition or register hides no other, in the check as in a run; words that are more to YAML."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medbench.catalog import build_index, resolve_tasks
from medbench.checks import check_tasks
from medbench.data import resolve
from medbench.errors import CatalogError, DataError, MedbenchError
from medbench.runs.loading import load_tasks
from medbench.runs.settings import RunSettings
from tests.checks.planting import EXAM, NER, edit, in_register


def codes(tasks: Path) -> dict[str, set[str]]:
    """The codes found, by the name of the file."""
    found: dict[str, set[str]] = {}
    for finding in check_tasks([tasks], behave=False).findings:
        found.setdefault(finding.file.name, set()).add(finding.code)
    return found


def test_a_faulty_register_is_told_once_and_the_others_are_used(tasks: Path) -> None:
    in_register("    licence:", "    licnce:")(tasks)
    report = check_tasks([tasks])
    assert [finding.code for finding in report.findings] == ["faulty-register"]
    assert "licnce" in report.findings[0].message
    assert {rendering.task for rendering in report.renderings} == {NER}
    selection = resolve_tasks([EXAM, NER, "pubmedqa"], [tasks])
    built, failures = load_tasks(selection.tasks, RunSettings(data_source="samples"))
    assert set(built) == {NER, "pubmedqa"}
    assert "a register of datasets cannot be read" in str(failures[EXAM])


def test_a_dataset_given_twice_spoils_only_its_own_tasks(tasks: Path) -> None:
    edit(tasks / EXAM / "sources.yaml", "my_exam: {}", f"my_exam: {{}}\n      {NER}: {{}}")
    found = codes(tasks)
    assert "faulty-register" in {code for name in found for code in found[name]}
    assert resolve(EXAM, tasks_dirs=[tasks]).dataset == EXAM
    with pytest.raises(DataError, match=f"'{NER}' exists already"):
        resolve(NER, tasks_dirs=[tasks])


NO_WORDS = [
    ("tag: [en, no]", "tag is False"),
    ("tag: NO", "tag is False"),
    ("tag: [yes]", "tag is True"),
    ("tag: [2024]", "tag is 2024"),
    ("tag: [2024-01-01]", "tag is datetime.date"),
    ("test_split: on", "test_split is True"),
    ("fewshot_split: off", "fewshot_split is False"),
]


@pytest.mark.parametrize(("line", "message"), NO_WORDS)
def test_a_word_that_yaml_takes_for_more_is_told_and_spoils_no_other_task(
    line: str, message: str, tasks: Path
) -> None:
    path = tasks / EXAM / f"{EXAM}.yaml"
    key = line.partition(":")[0]
    text = path.read_text(encoding="utf-8").replace("tag:\n- en\n- exam\n", "tag: [en, exam]\n")
    lines = [old for old in text.splitlines() if not old.startswith(f"{key}:")]
    path.write_text("\n".join([*lines, line]) + "\n", encoding="utf-8")
    report = check_tasks([tasks], behave=False)
    assert [(f.file.name, f.code) for f in report.findings] == [(f"{EXAM}.yaml", "unreadable")]
    assert message in report.findings[0].message
    assert report.findings[0].line == len(lines) + 1
    built, _ = load_tasks(resolve_tasks([NER, "pubmedqa"], [tasks]).tasks, RunSettings(data_source="samples"))
    assert set(built) == {NER, "pubmedqa"}
    with pytest.raises(CatalogError, match=message):
        resolve_tasks([EXAM], [tasks])


@pytest.mark.parametrize("name", ["NO", "yes", "2024", "2024-01-01", "1.5"])
@pytest.mark.parametrize("kind", ["task", "group"])
def test_names_are_words(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        f"{kind}: {name}\ntask: [a]\n"[: None if kind == "group" else -11], "utf-8"
    )
    ((_, error),) = build_index([tmp_path]).faults
    assert f"{kind} is " in error.what
    assert "in quotes" in str(error.hint)


@pytest.mark.parametrize("word", ["exam", "zh", "extraction", "cot", "multiple_answers"])
def test_no_task_takes_the_name_of_a_shipped_tag(word: str, tasks: Path) -> None:
    edit(tasks / EXAM / f"{EXAM}.yaml", f"task: {EXAM}\n", f"task: {word}\n")
    before = build_index().tags[word]
    index = build_index([tasks])
    assert set(before) <= set(index.tags[word])
    assert word not in index.tasks
    assert "name-taken" in codes(tasks)[f"{EXAM}.yaml"]


@pytest.mark.parametrize("word", ["pubmedqa", "exams_en", "medqa_us", "ming_moe", "cmexam"])
def test_no_tag_takes_a_shipped_name(word: str, tasks: Path) -> None:
    edit(tasks / EXAM / f"{EXAM}.yaml", "- exam\n", f"- {word}\n")
    assert word not in build_index([tasks]).tags
    assert "name-taken" in codes(tasks)[f"{EXAM}.yaml"]
    assert {task.name for task in resolve_tasks([NER], [tasks]).tasks} == {NER}


def test_names_and_tags_from_outside_are_their_own_affair(tasks: Path) -> None:
    edit(tasks / EXAM / f"{EXAM}.yaml", "- exam\n", f"- {NER}\n")
    assert build_index([tasks]).tags[NER] == (EXAM,)


def test_choices_that_are_no_words_are_told_without_building(tasks: Path) -> None:
    edit(tasks / EXAM / f"{EXAM}.yaml", "doc_to_choice: letters", "doc_to_choice: [no, yes, on, off]")
    assert codes(tasks) == {f"{EXAM}.yaml": {"truth-value"}}
    edit(tasks / EXAM / f"{EXAM}.yaml", "[no, yes, on, off]", '["no", "yes", "on", "off"]')
    assert codes(tasks) == {}


def test_a_broken_definition_beside_sound_ones_ends_nothing(tasks: Path, tmp_path: Path) -> None:
    (tasks / "broken.yaml").write_text("task: [\n", encoding="utf-8")
    shutil.copy(tasks / EXAM / f"{EXAM}.yaml", tasks / "zz.yaml")
    report = check_tasks([tasks])
    assert {NER} <= set(report.checked)
    assert {f.code for f in report.findings} == {"unreadable", "name-taken"}
    assert NER in {rendering.task for rendering in report.renderings}
    with pytest.raises(MedbenchError):
        resolve_tasks(["broken"], [tasks])


def test_every_faulty_sample_is_told(tasks: Path) -> None:
    path = tasks / EXAM / "samples" / f"{EXAM}.jsonl"
    text = path.read_text(encoding="utf-8").splitlines()
    text[1] = text[1].replace('"answer": "', '"answer": "E')
    text[4] = text[4].replace('"split": "test"', '"split": "tset"')
    text[6] = text[6].replace('"question": "', '"question": "", "_": "')
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    found = [f for f in check_tasks([tasks]).findings if f.code == "faulty-documents"]
    assert [finding.line for finding in found] == [2, 5, 7]
