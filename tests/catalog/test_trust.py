"""Definitions from outside run nothing of their own without leave, and what is harmless needs none."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.catalog import resolve_tasks
from medbench.errors import CatalogError


def define(folder: Path, body: str) -> None:
    (folder / "mine.yaml").write_text(f"task: mine\n{body}\n", encoding="utf-8")


@pytest.mark.parametrize(
    "body",
    [
        "process_results: !function os.system",
        "process_results: !function own.score",
        "metric_list: [{metric: acc, aggregation: !function subprocess.run}]",
        "process_results: !function medbench.scoring.exams.nothing_like_it",
        "custom_dataset: !function medbench.data.fetching.fetch",
        "custom_dataset: !function medbench.data.registry.Path",
        "custom_dataset: !function medbench.scoring.import_module",
        "dataset_path: pandas",
        "class: !function own.Task",
        "class: Task",
        "class:",
        "process_docs: !function medbench.data.load",
        "custom_dataset: !function medbench.scoring.exams.read_answer",
        "process_docs: !function own.docs\nprocess_docs: !function medbench.data.filters.single_answer",
        "metadata: {note: !function own.score}",
        "metadata: {? !function own.score : 1}",
        "tag: [!function own.score]",
        "fewshot_config: {samples: !function own.samples}",
        "fewshot_config: {sampler: !function own.Sampler}",
        "filter_list: [{name: f, filter: [{function: custom, filter_fn: !function own.f}]}]",
        "generation_kwargs: {until: !function own.until}",
        "doc_to_choice: {a: !function own.choice}",
        "metric_list: [{metric: !function own.metric}]",
        "metric_list: [{metric: someone/metric}]\nprocess_results:",
        "metric_list: [{metric: 5}]",
        "unsafe_code: 'false'",
        "unsafe_code: true",
        "dataset_kwargs: {trust_remote_code: true}",
        "metric_list: [{metric: someone/metric}]",
        "metric_list: [{metric: acc, hf_evaluate: true}]",
        "doc_to_text: \"{{ ''.__class__.__mro__ }}\"",
        "doc_to_text: \"{{ ''['__class__'] }}\"",
        "doc_to_text: \"{{ question['_' ~ '_class__'] }}\"",
        "doc_to_text: \"{{ question | attr('x') }}\"",
        "doc_to_text: \"{{ [question] | map(attribute='__class__') | list }}\"",
        "doc_to_text: \"{{ '{0.__class__}'.format(question) }}\"",
        'doc_to_text: "{{ cycler.__init__ }}"',
        'doc_to_text: "{{ lipsum() }}"',
        "doc_to_text: \"{% import 'x' as y %}{{ y }}\"",
        "doc_to_text: \"{% include '/etc/passwd' %}{{ y }}\"",
        'fewshot_config: {doc_to_text: "{{ self._TemplateReference__context }}"}',
        "doc_to_choice: [\"{{ ''.__class__ }}\"]",
        "gen_prefix: \"{% set x = ''.__class__ %}{{x}}\"",
        "doc_to_text: \"{{ [lipsum] | join('', '__globals__.os.environ.HOME') }}\"",
        "generation_kwargs: {until: [\"{{ [lipsum] | join('', '__globals__') }}\"]}",
        "description: \"{{ [lipsum] | map('join', '', '__globals__') | first }}\"",
        'fewshot_config: {gen_prefix: "{{ lipsum }}"}',
        "doc_to_decontamination_query: \"{{ cycler('a').next() }}\"",
    ],
)
def test_code_needs_leave(body: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    define(tmp_path, body)
    with pytest.raises(CatalogError, match="would run code of its own") as caught:
        resolve_tasks(["mine"], [tmp_path])
    assert "--allow-code" in str(caught.value)
    assert "mine.yaml" in str(caught.value)
    assert resolve_tasks(["mine"], [tmp_path], allow_code=True).tasks[0].name == "mine"


@pytest.mark.parametrize(
    "body",
    [
        "process_results: !function medbench.scoring.exams.score_generated",
        'doc_to_text: "{{question}} {{options[0]}} {{options[-1]}} {{options[1:]}}"',
        'doc_to_text: "{% for o in options %}{{letters[loop.index0]}}. {{o | trim}}{% endfor %}"',
        'doc_to_target: "{{options[letters.index(answer)]}}"',
        "doc_to_text: \"{{ question.strip().replace('a', 'b') if question else context }}\"",
        "metric_list: [{metric: own_score, aggregation: mean}]\n"
        "process_results: !function medbench.scoring.exams.score_generated",
        "doc_to_choice: [yes, no]",
        "dataset_path: json",
        "dataset_path: someone/dataset",
        "custom_dataset: !function medbench.data.load\n"
        "process_docs: !function medbench.data.filters.single_answer",
        "description: plain text with {braces} and __dunders__",
    ],
)
def test_harmless_definitions_need_none(body: str, tmp_path: Path) -> None:
    define(tmp_path, body)
    assert resolve_tasks(["mine"], [tmp_path]).tasks[0].name == "mine"


def test_a_module_beside_the_yaml_cannot_pose_as_medbench(tmp_path: Path) -> None:
    fake = tmp_path / "medbench" / "scoring"
    fake.mkdir(parents=True)
    (fake / "exams.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    define(tmp_path, "process_results: !function medbench.scoring.exams.score_generated")
    with pytest.raises(CatalogError, match=r"exams\.py"):
        resolve_tasks(["mine"], [tmp_path])


def test_functions_that_an_including_file_replaces_need_leave(tmp_path: Path) -> None:
    """lm-eval imports the functions of every file that it reads, before it merges them."""
    (tmp_path / "own.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    (tmp_path / "_base").write_text("process_results: !function own.score\n", encoding="utf-8")
    define(tmp_path, "include: _base\nprocess_results: !function medbench.scoring.exams.score_generated")
    with pytest.raises(CatalogError, match=r"own\.score") as caught:
        resolve_tasks(["mine"], [tmp_path])
    assert "_base, line 1" in str(caught.value)


def test_functions_of_a_group_need_leave(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    (tmp_path / "group.yaml").write_text(
        "group: ours\ntask: [pubmedqa]\n"
        "aggregate_metric_list: [{metric: acc, aggregation: !function own.f}]\n",
        encoding="utf-8",
    )
    with pytest.raises(CatalogError, match=r"own\.f"):
        resolve_tasks(["ours"], [tmp_path])


def test_only_what_is_asked_for_needs_leave(tmp_path: Path) -> None:
    define(tmp_path, "process_results: !function os.system")
    assert resolve_tasks(["pubmedqa"], [tmp_path]).tasks


@pytest.mark.parametrize("asked", ["ours", "lm_eval*", "*evil", "sly"])
def test_a_name_like_those_of_lm_evals_tasks_gives_no_trust(asked: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    (tmp_path / "evil.yaml").write_text(
        "task: lm_eval/evil\ntag: sly\nprocess_results: !function own.score\n", encoding="utf-8"
    )
    (tmp_path / "group.yaml").write_text("group: ours\ntask: [lm_eval/evil]\n", encoding="utf-8")
    with pytest.raises(CatalogError):
        resolve_tasks([asked], [tmp_path])


def test_a_shipped_group_lends_no_trust_to_tasks_from_outside(tmp_path: Path) -> None:
    from medbench.catalog import build_index
    from medbench.catalog.groups import with_settings

    define(tmp_path, "process_results: !function os.system")
    index = build_index([tmp_path])
    task, group = index.tasks["mine"], index.groups["exams_en"]
    assert group.shipped
    assert not with_settings(task, "mine", {"repeats": 2}, group).shipped


def test_settings_of_a_group_are_judged_with_the_task(tmp_path: Path) -> None:
    group = "group: ours\ntask: [{task: pubmedqa, SETTING}]\n"
    for setting, message in (
        ("process_results: !function own.score", "own.score"),
        ('description: \'{{ [lipsum] | join("", "__globals__") }}\'', "lipsum|plain key"),
        ("repeats: 1000000000", "repeats"),
        ("dataset_path: /etc", "outside its folders"),
    ):
        (tmp_path / "group.yaml").write_text(group.replace("SETTING", setting), encoding="utf-8")
        with pytest.raises(CatalogError, match=message) as caught:
            resolve_tasks(["ours"], [tmp_path])
        assert "group.yaml" in str(caught.value)
    harmless = group.replace("SETTING", "custom_dataset: !function medbench.data.load, num_fewshot: 0")
    (tmp_path / "group.yaml").write_text(harmless, encoding="utf-8")
    assert [task.name for task in resolve_tasks(["ours"], [tmp_path]).tasks] == ["pubmedqa"]
