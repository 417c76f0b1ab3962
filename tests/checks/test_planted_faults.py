"""Every kind of fault, planted in a sound task, is found at its place; the sound task gives no finding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medbench.checks import check_tasks
from tests.checks.planting import (
    EXAM,
    NER,
    Fault,
    edit,
    found,
    in_document,
    in_register,
    planted,
    rows,
    without,
    write_rows,
)


def _same_example(tasks: Path) -> None:
    path = tasks / EXAM / "samples" / f"{EXAM}.jsonl"
    documents = rows(path)
    documents[-1].update({key: documents[0][key] for key in ("question", "letters", "options", "answer")})
    write_rows(path, documents)


def _no_samples(tasks: Path) -> None:
    (tasks / EXAM / "samples" / f"{EXAM}.jsonl").unlink()


def _two_samples(tasks: Path) -> None:
    path = tasks / EXAM / "samples" / f"{EXAM}.jsonl"
    write_rows(path, rows(path)[:2])


def _include_cycle(tasks: Path) -> None:
    (tasks / EXAM / "_template").write_text(f"include: {EXAM}.yaml\n", encoding="utf-8")
    edit(tasks / EXAM / f"{EXAM}.yaml", f"task: {EXAM}\n", f"task: {EXAM}\ninclude: _template\n")


def _group(members: str, version: str = "metadata: {version: 1.0}\n") -> Callable[[Path], int | None]:
    def plant(tasks: Path) -> None:
        (tasks / "group.yaml").write_text(f"group: my_group\ntask: [{members}]\n{version}", encoding="utf-8")

    return plant


def _second_definition(name: str) -> Callable[[Path], int | None]:
    def plant(tasks: Path) -> None:
        text = (tasks / EXAM / f"{EXAM}.yaml").read_text(encoding="utf-8")
        (tasks / "second.yaml").write_text(text.replace(f"task: {EXAM}", f"task: {name}"), encoding="utf-8")

    return plant


def _broken_module(tasks: Path) -> int | None:
    (tasks / NER / "helpers.py").write_text("def score(doc, results:\n", encoding="utf-8")
    return edit(tasks / NER / f"{NER}.yaml", "medbench.scoring.promptcblue.score_cmeee_v2", "helpers.score")


SCORE = "process_results: !function 'medbench.scoring.promptcblue.score_cmeee_v2'"

STATIC = [
    Fault("unclosed bracket", "unreadable", "parsed", planted(EXAM, "- en\n", "- [en\n", 2), "my_exam.yaml"),
    Fault(
        "tab as indentation",
        "unreadable",
        "parsed",
        planted(EXAM, "  version: 1.0", "\tversion: 1.0"),
        "my_exam.yaml",
    ),
    Fault(
        "python object tag",
        "unreadable",
        "python/object",
        planted(EXAM, "- en\n", "- !!python/object/apply:os.getcwd []\n"),
        "my_exam.yaml",
    ),
    Fault(
        "no task name",
        "unreadable",
        "neither a task nor a group",
        without(EXAM, "task: my_exam\n"),
        "my_exam.yaml",
    ),
    Fault(
        "missing template",
        "unreadable",
        "_tmplate",
        planted(EXAM, "task: my_exam\n", "include: _tmplate\ntask: my_exam\n"),
        "my_exam.yaml",
    ),
    Fault("include cycle", "unreadable", "included twice", _include_cycle, "my_exam.yaml"),
    Fault(
        "duplicate key",
        "duplicate-key",
        "'output_type'",
        planted(
            EXAM,
            "output_type: multiple_choice\n",
            "output_type: multiple_choice\noutput_type: multiple_choice\n",
            1,
        ),
        "my_exam.yaml",
    ),
    Fault(
        "misspelled key",
        "unknown-key",
        "'doc_to_txt'",
        planted(EXAM, "doc_to_text:", "doc_to_txt:"),
        "my_exam.yaml",
    ),
    Fault(
        "misspelled generation key",
        "unknown-key",
        "'max_gen_tokens'",
        planted(NER, "max_gen_toks:", "max_gen_tokens:"),
        "my_ner.yaml",
    ),
    Fault(
        "misspelled metric key",
        "unknown-key",
        "'agregation'",
        planted(EXAM, "  aggregation: mean", "  agregation: mean"),
        "my_exam.yaml",
    ),
    Fault(
        "function that the module lacks",
        "unresolved-function",
        "score_cmeee",
        planted(NER, "promptcblue.score_cmeee_v2", "promptcblue.score_cmeee_v3"),
        "my_ner.yaml",
    ),
    Fault(
        "module that does not exist",
        "unresolved-function",
        "medbench.scorin",
        planted(NER, SCORE, "process_results: !function medbench.scorin.mean"),
        "my_ner.yaml",
    ),
    Fault(
        "function without a module",
        "unresolved-function",
        "names no module",
        planted(NER, SCORE, "process_results: !function score"),
        "my_ner.yaml",
    ),
    Fault(
        "module that is no Python", "unresolved-function", "no valid Python", _broken_module, "my_ner.yaml"
    ),
    Fault(
        "no version",
        "missing-version",
        "'version'",
        planted(EXAM, "  version: 1.0\n", "", -1),
        "my_exam.yaml",
    ),
    Fault(
        "version in words",
        "missing-version",
        "no number",
        planted(EXAM, "version: 1.0", "version: first"),
        "my_exam.yaml",
    ),
    Fault(
        "no language",
        "missing-metadata",
        "'language'",
        planted(EXAM, "  language: en\n", "", -3),
        "my_exam.yaml",
    ),
    Fault(
        "unknown family",
        "unknown-value",
        "'exams'",
        planted(EXAM, "family: exam", "family: exams"),
        "my_exam.yaml",
    ),
    Fault(
        "language unlike the dataset's",
        "unknown-value",
        "'zh'",
        planted(EXAM, "language: en", "language: zh"),
        "my_exam.yaml",
    ),
    Fault(
        "metric without direction",
        "no-direction",
        "'acc'",
        planted(EXAM, "  higher_is_better: true\n", "", -2),
        "my_exam.yaml",
    ),
    Fault(
        "metric that lm-eval lacks",
        "unknown-metric",
        "'accuracy'",
        planted(EXAM, "- metric: acc\n", "- metric: accuracy\n"),
        "my_exam.yaml",
    ),
    Fault(
        "aggregation that lm-eval lacks",
        "no-aggregation",
        "'average'",
        planted(EXAM, "aggregation: mean", "aggregation: average"),
        "my_exam.yaml",
    ),
    Fault(
        "own metric without aggregation",
        "no-aggregation",
        "'f1'",
        planted(NER, "  aggregation: !function 'medbench.scoring.aggregation.micro_f1'\n", "", -1),
        "my_ner.yaml",
    ),
    Fault(
        "main metric that is not there",
        "main-metric-missing",
        "'accuracy'",
        planted(EXAM, "main_metric: acc", "main_metric: accuracy"),
        "my_exam.yaml",
    ),
    Fault(
        "misspelled output type",
        "unknown-value",
        "'multiple_choise'",
        planted(EXAM, "output_type: multiple_choice", "output_type: multiple_choise"),
        "my_exam.yaml",
    ),
    Fault(
        "no target", "no-prompt", "'doc_to_target'", without(EXAM, "doc_to_target: answer\n"), "my_exam.yaml"
    ),
    Fault(
        "no options",
        "no-prompt",
        "'doc_to_choice'",
        without(EXAM, "doc_to_choice: letters\n"),
        "my_exam.yaml",
    ),
    Fault("no split", "no-test-split", "no split", without(EXAM, "test_split: test\n"), "my_exam.yaml"),
    Fault(
        "unbounded generation",
        "implicit-limit",
        "'max_gen_toks'",
        without(NER, "  max_gen_toks: 1024\n", line=None),
        "my_ner.yaml",
    ),
    Fault(
        "examples from the test split",
        "fewshot-leak",
        "'test'",
        planted(NER, "fewshot_split: dev", "fewshot_split: test"),
        "my_ner.yaml",
    ),
    Fault(
        "examples without a split",
        "fewshot-leak",
        "no split is set apart",
        planted(EXAM, "test_split: test\n", "test_split: test\nnum_fewshot: 2\n", 1),
        "my_exam.yaml",
    ),
    Fault("example that is tested", "fewshot-leak", "my_exam-test-1", _same_example, "my_exam.jsonl"),
    Fault(
        "misspelled dataset",
        "unknown-dataset",
        "'my_exma'",
        planted(EXAM, "dataset: my_exam", "dataset: my_exma"),
        "my_exam.yaml",
    ),
    Fault(
        "no licence",
        "missing-licence",
        "licence",
        in_register(
            "    licence: Apache-2.0 (the samples copied from medbench; state that of your own documents)\n",
            "",
        ),
        "my_exam.yaml",
    ),
    Fault(
        "no citation",
        "missing-citation",
        "citation",
        in_register("    citation: not published\n", ""),
        "my_exam.yaml",
    ),
    Fault(
        "hub without a revision",
        "unpinned-source",
        "my_exam",
        in_register("my_exam: {}", "my_exam: {hub: {id: someone/exam, splits: {test: test}}}"),
        "my_exam.yaml",
    ),
    Fault(
        "hub at a branch",
        "unpinned-source",
        "'main'",
        in_register("my_exam: {}", "my_exam: {hub: {id: our/exam, revision: main, splits: {test: test}}}"),
        "my_exam.yaml",
    ),
    Fault(
        "misspelled key of the register",
        "faulty-register",
        "'licnce'",
        in_register("    licence:", "    licnce:"),
        ".yaml",
    ),
    Fault("no samples", "no-samples", "no bundled samples", _no_samples, ".yaml"),
    Fault("two samples", "no-samples", "2 sample documents", _two_samples, "my_exam.jsonl"),
    Fault(
        "gold outside the options",
        "faulty-documents",
        "outside the options",
        in_document(4, answer="E"),
        "my_exam.jsonl",
    ),
    Fault(
        "empty question",
        "faulty-documents",
        "question is empty",
        in_document(2, question=" "),
        "my_exam.jsonl",
    ),
    Fault(
        "id used twice",
        "faulty-documents",
        "occurs twice",
        in_document(3, id="my_exam-test-1"),
        "my_exam.jsonl",
    ),
    Fault(
        "column that documents lack",
        "unknown-column",
        "'qestion'",
        planted(EXAM, "Question: {{question}}", "Question: {{qestion}}", -1),
        "my_exam.yaml",
    ),
    Fault(
        "template that does not parse",
        "template-syntax",
        "parsed",
        planted(EXAM, "{% endfor %}", "{% endfr %}", -3),
        "my_exam.yaml",
    ),
    Fault(
        "prompt that is a word",
        "constant-template",
        "same text",
        planted(NER, "doc_to_text: input", "doc_to_text: inputs"),
        "my_ner.yaml",
    ),
    Fault("member that does not exist", "unknown-member", "'my_exma'", _group("my_exma"), "group.yaml"),
    Fault("member listed twice", "duplicate-member", "'my_exam'", _group("my_exam, my_exam"), "group.yaml"),
    Fault("group in itself", "group-cycle", "contains itself", _group("my_exam, my_group"), "group.yaml"),
    Fault("group without version", "missing-version", "'version'", _group("my_exam", ""), "group.yaml"),
    Fault("name taken twice", "name-taken", "'my_exam'", _second_definition("my_exam"), ".yaml"),
    Fault(
        "name of a shipped task", "name-taken", "'pubmedqa'", _second_definition("pubmedqa"), "second.yaml"
    ),
    Fault(
        "code without leave",
        "needs-leave",
        "os.getcwd",
        planted(NER, SCORE, "process_results: !function os.getcwd"),
        "my_ner.yaml",
    ),
]


@pytest.mark.parametrize("fault", STATIC, ids=[fault.name for fault in STATIC])
def test_fault_is_found_where_it_is(fault: Fault, tasks: Path) -> None:
    line = fault.plant(tasks)
    report = check_tasks([tasks], behave=False)
    assert found(report, fault, line), "\n".join(map(str, report.findings)) or "nothing was found"


def test_nearest_key_is_suggested(tasks: Path) -> None:
    edit(tasks / EXAM / f"{EXAM}.yaml", "doc_to_text:", "doc_to_txt:")
    report = check_tasks([tasks], behave=False)
    assert any("'doc_to_text'" in f.hint for f in report.findings if f.code == "unknown-key")
