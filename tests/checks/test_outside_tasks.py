"""Plain lm-eval tasks under the check: what only shipped tasks need is a warning, and prompts are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbench.catalog import resolve_tasks
from medbench.checks import check_tasks
from medbench.checks.documents import _columns_of
from medbench.cli.main import main

ROWS = [
    {
        "question": f"Which is {i}?",
        "choices": ["one", "two", "three"],
        "gold": i % 3,
        "word": "drug",
        "blank": "",
    }
    for i in range(4)
]
PLAIN = """
dataset_path: json
dataset_kwargs: {data_files: DATA}
test_split: train
"""
CHOICE = (
    PLAIN
    + """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: gold
"""
)
WRITE = (
    PLAIN
    + """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[gold]}}"
"""
)
ACC = "metric_list: [{metric: acc}]\n"


def define(folder: Path, text: str, name: str = "plain") -> Path:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")
    path = folder / f"{name}.yaml"
    path.write_text(f"task: {name}\n{text.replace('DATA', str(folder / 'rows.jsonl'))}", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (CHOICE, {"missing-metadata", "no-metrics"}),
        (CHOICE + ACC, {"missing-metadata", "no-direction"}),
        (CHOICE + ACC + "metadata: {version: 1.0}\n", {"missing-metadata", "no-direction"}),
        (
            CHOICE + ACC + "metadata: {version: one}\n",
            {"missing-metadata", "missing-version", "no-direction"},
        ),
        (
            CHOICE + ACC + "metadata: {dataset: nowhere}\n",
            {"missing-metadata", "missing-version", "no-direction"},
        ),
        (CHOICE + ACC + "num_fewshot: 1\n", {"missing-metadata", "no-direction", "fewshot-leak"}),
        (CHOICE + ACC + "num_fewshot: 0\n", {"missing-metadata", "no-direction"}),
        (
            CHOICE.replace("doc_to_target: gold", 'doc_to_target: "{{[gold, 0]}}"') + ACC,
            {"missing-metadata", "no-direction", "any-of-gold"},
        ),
        (WRITE, {"missing-metadata", "no-metrics", "implicit-limit"}),
        (WRITE + "metric_list: [{metric: bleu}]\n", {"missing-metadata", "no-direction", "implicit-limit"}),
        (
            WRITE + "metric_list: [{metric: exact_match, ignore_case: true, regexes_to_ignore: [x]}]\n",
            {"missing-metadata", "no-direction", "implicit-limit"},
        ),
        (
            WRITE.replace("{{choices[gold]}}", "{{blank}}") + "metric_list: [{metric: chrf}]\n",
            {"missing-metadata", "no-direction", "implicit-limit", "empty-target"},
        ),
        (
            WRITE + "metric_list: [{metric: bypass}]\n",
            {"missing-metadata", "no-direction", "implicit-limit", "no-interval"},
        ),
        (
            PLAIN + 'output_type: loglikelihood_rolling\ndoc_to_target: "{{question}}"\ndoc_to_text: ""\n',
            {"missing-metadata", "no-metrics"},
        ),
    ],
)
def test_a_task_that_runs_gets_warnings_and_prompts(tmp_path: Path, text: str, codes: set[str]) -> None:
    report = check_tasks([define(tmp_path, text)])
    assert {finding.code for finding in report.findings} == codes, "\n".join(map(str, report.findings))
    assert all(finding.severity == "warning" for finding in report.findings)
    assert report.ok
    assert len(report.renderings) == 3
    assert resolve_tasks(["plain"], [tmp_path]).tasks


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (CHOICE + ACC + "doc_to_txt: x\n", "unknown-key"),
        (CHOICE + "metric_list: [{metric: acc, agregation: mean}]\n", "unknown-key"),
        (CHOICE + "metric_list: [{metric: accc}]\n", "unknown-metric"),
        (CHOICE.replace("doc_to_choice: choices", "") + ACC, "no-prompt"),
        (CHOICE.replace("{{question}}", "{{question") + ACC, "cannot-build"),
        (CHOICE.replace("test_split: train", "test_split: test") + ACC, "cannot-build"),
        (CHOICE + ACC + ACC, "duplicate-key"),
        (
            WRITE + "metric_list: [{metric: exact_match}]\nprocess_results: !function own.score\n",
            "needs-leave",
        ),
    ],
)
def test_what_keeps_a_task_from_running_is_an_error(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "own.py").write_text("def score(doc, results):\n    return {}\n", encoding="utf-8")
    report = check_tasks([define(tmp_path, text)])
    assert code in {finding.code for finding in report.findings if finding.severity == "error"}, "\n".join(
        map(str, report.findings)
    )
    assert not report.ok


@pytest.mark.parametrize(
    "expression",
    [
        "'a' * 10**11",
        "[0] * 10**11",
        "10**10**10",
        "'x' | center(100000000000)",
        "('a' * 100000000) * 1000",
        "'%100000000000d' | format(1)",
        "-(10**10**9)",
        "'a' * 99999999999 ~ 'b'",
        "('a' * 10**11) | length",
        "((1,) * 10**11) | list",
        "('ab' * 10**11) | upper | trim",
        "10**10**9 is even",
    ],
)
def test_reading_the_columns_of_a_template_computes_nothing(expression: str) -> None:
    assert _columns_of(f"{{{{ {expression} }}}}{{{{ question }}}}") == (frozenset({"question"}), True)


def test_a_dataset_that_no_register_has_names_itself(tmp_path: Path) -> None:
    """With the line that the check once asked for, the task could not be run."""
    text = (
        CHOICE
        + ACC
        + "metadata: {version: 1.0, dataset: mine, language: en, family: exam, protocol: letters}\n"
    )
    path = define(tmp_path, text)
    (tmp_path / "sources.yaml").write_text(
        "benchmarks: {mine: {title: mine, schema: exam, language: en, licence: own, citation: none, "
        "datasets: {mine: {}}}}\n",
        encoding="utf-8",
    )
    report = check_tasks([path])
    assert report.ok, "\n".join(map(str, report.findings))
    assert len(report.renderings) == 3


def test_the_command_ends_well_with_warnings_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = define(tmp_path, CHOICE + ACC)
    assert main(["tasks", "check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "warning: missing-metadata" in said
    assert "0 errors, 2 warnings" in said
    assert "Which is 0?" in said
    assert main(["tasks", "check", str(define(tmp_path, CHOICE + ACC + "doc_to_txt: x\n"))]) == 1
    capsys.readouterr()
    assert main(["tasks", "check", str(define(tmp_path, CHOICE + ACC)), "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["severity"] for finding in findings} == {"warning"}


def test_a_name_that_a_shipped_task_has_is_a_warning(tmp_path: Path) -> None:
    report = check_tasks([define(tmp_path, CHOICE + ACC, "pubmedqa")])
    (finding,) = (found for found in report.findings if found.code == "name-taken")
    assert finding.severity == "warning"
    assert f"{tmp_path.name}/pubmedqa" in finding.hint
    assert report.renderings
