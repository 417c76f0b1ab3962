"""Groups as lm-eval lets them be written: settings for members, tags, groups within, inline tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medbench.catalog import Selection, resolve_tasks
from medbench.errors import CatalogError

TASK = """
dataset_path: json
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: gold
doc_to_choice: choices
test_split: test
"""


def select(folder: Path, text: str, *names: str) -> Selection:
    for name in ("one", "two", "three"):
        tag = "" if name == "three" else "tag: pair\n"
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{tag}{TASK}", encoding="utf-8")
    (folder / "inner.yaml").write_text("group: inner\ntask: [two, three]\n", encoding="utf-8")
    (folder / "outer.yaml").write_text(text, encoding="utf-8")
    return resolve_tasks(names or ["outer"], [folder])


def shots(selection: Selection) -> dict[str, Any]:
    return {task.name: task.merged.values.get("num_fewshot") for task in selection.tasks}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("task: [one, three]", {"one": None, "three": None}),
        ("task: [pair]", {"one": None, "two": None}),
        ("task: [inner]", {"two": None, "three": None}),
        ("task: [one, {task: two, num_fewshot: 3}]", {"one": None, "two": 3}),
        ("num_fewshot: 2\ntask: [one, two]", {"one": 2, "two": 2}),
        ("num_fewshot: 2\ntask: [one, {task: two, num_fewshot: 3}]", {"one": 2, "two": 3}),
        ("task: [{task: pair, num_fewshot: 1}]", {"one": 1, "two": 1}),
        ("task: [{group: inner, num_fewshot: 4}]", {"two": 4, "three": 4}),
        ("num_fewshot: 5\ntask: [{group: written, task: [one, inner]}]", {"one": 5, "two": 5, "three": 5}),
        ("task: [{group: written, num_fewshot: 6, task: [one]}, two]", {"one": 6, "two": None}),
        ("task: [one, one]", {"one": None}),
        (
            "task: [{task: fresh, dataset_path: json, doc_to_text: a, doc_to_target: b, num_fewshot: 1}]",
            {"outer::fresh": 1},
        ),
    ],
)
def test_members_have_the_settings_that_lm_eval_gives_them(
    tmp_path: Path, body: str, expected: dict[str, Any]
) -> None:
    assert shots(select(tmp_path, f"group: outer\n{body}\n")) == expected


@pytest.mark.parametrize(
    "body",
    [
        "task: [one, {task: two, num_fewshot: 1}, {task: pair, num_fewshot: 2}]",
        "num_fewshot: 2\ntask: [inner, {group: written, task: [{task: one, num_fewshot: 1}]}]",
        "task: [{group: written, num_fewshot: 6, task: [one, {task: two, gen_prefix: 'A'}]}]",
    ],
)
def test_lm_eval_itself_gives_the_same_settings(tmp_path: Path, body: str) -> None:
    """Its own factory, asked for what it would build of each member."""
    from lm_eval.tasks import TaskManager

    try:
        mine = shots(select(tmp_path, f"group: outer\n{body}\n"))
    except CatalogError as error:
        assert "different settings" in error.what  # noqa: PT017 - lm-eval builds the last one instead
        return
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    built: dict[str, Any] = {}

    def note(_entry: Any, overrides: Any) -> Any:
        config = manager._factory._load_full_config(_entry, overrides)
        built[config["task"]] = config.get("num_fewshot")
        return type("Task", (), {"task_name": config["task"]})()

    manager._factory._build_task = note
    manager._factory.build(manager.task_index["outer"], registry=manager.task_index)
    assert mine == built


def test_settings_make_another_digest_and_keep_the_files(tmp_path: Path) -> None:
    plain = select(tmp_path, "group: outer\ntask: [one]\n").tasks[0]
    first = select(tmp_path, "group: outer\ntask: [{task: one, num_fewshot: 1}]\n").tasks[0]
    second = select(tmp_path, "group: outer\ntask: [{task: one, num_fewshot: 2}]\n").tasks[0]
    assert len({plain.digest, first.digest, second.digest}) == 3
    assert first.merged.values["dataset_path"] == "json"
    assert first.merged.place("num_fewshot").path.name == "outer.yaml"
    assert first.merged.place("dataset_path").path.name == "one.yaml"


def test_tags_are_spelled_out_among_the_members(tmp_path: Path) -> None:
    selection = select(tmp_path, "group: outer\ntask: [pair, {group: part, task: [three]}]\n")
    members = {group.name: group.members for group in selection.groups}
    assert members == {"outer": ("one", "two", "outer::part"), "outer::part": ("three",)}


def test_one_name_with_two_settings_is_refused(tmp_path: Path) -> None:
    text = "group: outer\ntask: [{task: one, num_fewshot: 1}]\n"
    with pytest.raises(CatalogError, match="'one' is asked for with different settings"):
        select(tmp_path, text, "outer", "one")


def test_code_that_a_group_sets_needs_leave(tmp_path: Path) -> None:
    text = "group: outer\ntask: [{task: one, process_docs: !function os.getcwd}]\n"
    with pytest.raises(CatalogError, match=r"os\.getcwd"):
        select(tmp_path, text)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("task: [one, nowhere]", "'nowhere'"),
        ("task: []", "needs a list"),
        ("task: one", "needs a list"),
        ("task: [3]", "needs a list"),
        ("task: [{num_fewshot: 1}]", "needs a list"),
        ("task: [one]\naggregate_metric_list: [acc]", "names no metric"),
        ("task: [outer]", "contain each other"),
    ],
)
def test_faulty_groups_are_named(tmp_path: Path, body: str, why: str) -> None:
    with pytest.raises(CatalogError, match=why):
        select(tmp_path, f"group: outer\n{body}\n")


def test_what_to_aggregate_is_read_as_lm_eval_reads_it(tmp_path: Path) -> None:
    body = "aggregate_metric_list: [{metric: acc}, {metric: f1, filter_list: x, weight_by_size: false}]"
    (group,) = select(tmp_path, f"group: outer\ntask: [one]\n{body}\n").groups
    assert [(a.metric, a.filters, a.by_size) for a in group.aggregates] == [
        ("acc", None, True),
        ("f1", ("x",), False),
    ]
