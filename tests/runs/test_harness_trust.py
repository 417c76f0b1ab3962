"""lm-eval runs the definitions that were judged, and renders their templates in the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medbench.catalog import build_index, resolve_tasks
from medbench.catalog.tasks import TaskDefinition
from medbench.checks import check_tasks
from medbench.errors import CatalogError
from medbench.runs.harness import quiet_harness
from medbench.runs.loading import load_tasks
from medbench.runs.settings import RunSettings

LEAK = "{{ [lipsum] | join('', '__globals__.os.environ.MEDBENCH_TEST_SECRET') }}"
BODY = """
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_choice: options
doc_to_target: gold
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
# Ten to the power of five entries for whoever follows them.
ALIASES = "".join(
    f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]\n" for above, name in ("ab", "bc", "cd", "de")
)
ROWS: list[dict[str, Any]] = [
    {
        "question": "Which {{ 7 * 7 }} one?",
        "options": ["{{ 8 * 8 }}", "{% if x %}"],
        "gold": 1,
        "start": "{{ a }}",
    },
    {"question": "Which {{ missing }} one?", "options": ["x", "y"], "gold": 0, "start": "{{ 9 * 9 }}"},
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDBENCH_TEST_SECRET", "not-for-any-prompt")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return folder


def define(folder: Path, name: str, extra: str, file: str = "") -> None:
    text = f"task: {name}\n{extra}\n" + BODY.replace("DATA", str(folder / "rows.jsonl"))
    (folder / (file or f"{name}.yaml")).write_text(text, encoding="utf-8")


def load(folder: Path, name: str, *, allow_code: bool = False) -> tuple[dict[str, Any], dict[str, Exception]]:
    with quiet_harness(allow_code=allow_code):
        return load_tasks([defined(folder, name)], RunSettings(data_source="samples"))


def defined(folder: Path, name: str) -> TaskDefinition:
    return build_index([folder]).tasks[name]


@pytest.mark.parametrize("key", ["doc_to_text", "description", "gen_prefix"])
def test_a_template_that_was_never_judged_reaches_nothing(key: str, folder: Path) -> None:
    extra = f'{key}: "{LEAK}"' + ("" if key == "doc_to_text" else "\ndoc_to_text: question")
    define(folder, "mine", extra)
    with quiet_harness():
        tasks, failures = load_tasks([defined(folder, "mine")], RunSettings())
        texts = []
        for task in tasks.values():
            for read in (task.doc_to_text, task.doc_to_prefix, _description(task)):
                try:
                    texts.append(read(task.eval_docs[0]))
                except Exception as error:  # noqa: BLE001 lm-eval passes on whatever the template raises
                    failures["mine"] = error
    assert "lipsum" in str(failures["mine"])
    assert "not-for-any-prompt" not in str(texts)


def _description(task: Any) -> Any:
    return lambda document: task.resolve_field(document, task.config.description)


def test_with_leave_templates_are_lm_evals_own_business(folder: Path) -> None:
    define(folder, "mine", f'doc_to_text: "{LEAK}"')
    with quiet_harness(allow_code=True):
        tasks, failures = load_tasks([defined(folder, "mine")], RunSettings())
        assert not failures
        assert tasks["mine"].doc_to_text(tasks["mine"].eval_docs[0]) == "not-for-any-prompt"


def test_the_environment_of_lm_eval_is_given_back() -> None:
    import lm_eval.utils

    own = lm_eval.utils.env
    with quiet_harness():
        assert lm_eval.utils.env is not own
    assert lm_eval.utils.env is own
    with pytest.raises(ValueError, match="stop"), quiet_harness():
        raise ValueError("stop")
    assert lm_eval.utils.env is own


def test_documents_are_never_rendered(folder: Path) -> None:
    define(
        folder,
        "mine",
        "doc_to_text: \"Q: {{question}} {{options | join(', ')}}\"\n"
        "description: '{{start}}'\ngen_prefix: start",
    )
    with quiet_harness():
        tasks, failures = load_tasks([defined(folder, "mine")], RunSettings())
        assert not failures
        task = tasks["mine"]
        for row in ROWS:
            prompt = task.fewshot_context(row, 0, gen_prefix=task.doc_to_prefix(row))
            shown = ", ".join(row["options"])
            assert prompt == f"{row['start']}Q: {row['question']} {shown} {row['start']}"
            assert task.doc_to_choice(row) == row["options"]


HIJACK = "process_docs: !function own.docs\ndoc_to_text: HIJACKED"


@pytest.mark.parametrize(
    ("file", "head"),
    [
        ("sources.yaml", ""),
        ("z_large.yaml", "#" * 1_100_000),
        ("z_group.yaml", "group: pubmedqa"),
        ("z_group_of_settings.yaml", "group: pubmedqa\nprocess_results: !function own.docs"),
        ("z_aliases.yaml", "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + ALIASES),
    ],
)
def test_a_file_that_the_catalog_leaves_out_takes_no_name(file: str, head: str, folder: Path) -> None:
    """lm-eval's own search would find it, and would run it in the place of a shipped task."""
    canary = write_canary(folder)
    define(folder, "pubmedqa", f"{head}\n{HIJACK}", file)
    tasks, failures = load(folder, "pubmedqa")
    assert not failures
    assert not canary.exists()
    assert "HIJACKED" not in tasks["pubmedqa"].doc_to_text(tasks["pubmedqa"].eval_docs[0])


@pytest.mark.parametrize(
    "head",
    [
        "",
        "class: !function own.Task",
        "task_list: [{task: other}]",
        "metadata: {version: !function own.docs}",
    ],
)
def test_a_name_that_is_taken_stays_taken(head: str, folder: Path) -> None:
    canary = write_canary(folder)
    define(folder, "pubmedqa", f"{head}\n{HIJACK}")
    with pytest.raises(CatalogError, match="of a shipped task and of one from outside"):
        resolve_tasks(["pubmedqa"], [folder], allow_code=True)
    assert not canary.exists()


def write_canary(folder: Path) -> Path:
    """A module beside the YAMLs that leaves a trace when it is imported."""
    canary = folder / "CANARY"
    code = f"open({str(canary)!r}, 'w')\ndef docs(rows): return rows\nclass Task: ...\n"
    (folder / "own.py").write_text(code, encoding="utf-8")
    return canary


def test_the_check_prints_no_secret(folder: Path) -> None:
    define(folder, "mine", f'doc_to_text: "{LEAK} {{{{question}}}}"')
    report = check_tasks([folder])
    assert any(finding.code == "needs-leave" for finding in report.findings)
    assert "not-for-any-prompt" not in str(report)
