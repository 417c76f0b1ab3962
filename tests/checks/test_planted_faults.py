"""Every kind of fault, planted in a sound task, is found at its place; the sound task gives no finding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from medbench.checks import CheckReport, Finding, check_tasks, new_task

EXAM, NER = "my_exam", "my_ner"


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scaffolded tasks: an exam by letters, and an extraction that generates."""
    folder = tmp_path_factory.mktemp("sound")
    new_task(EXAM, like="medqa", into=folder)
    new_task(NER, like="promptcblue_cmeee_v2", into=folder)
    return folder


@pytest.fixture
def tasks(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "tasks"))


def edit(path: Path, old: str, new: str) -> int:
    """Replace text that occurs once, and return the line where the new text begins."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, documents: list[dict[str, object]]) -> None:
    lines = [json.dumps(document, ensure_ascii=False) for document in documents]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Fault(NamedTuple):
    """A fault to plant.

    Attributes:
        name: What it is.
        code: Under which code it must be found.
        message: A part of the message that it must have.
        plant: Plants it, and returns the line where it must be found; None for any.
        file: End of the name of the file where it must be found.
    """

    name: str
    code: str
    message: str
    plant: Callable[[Path], int | None]
    file: str


def _in(task: str, old: str, new: str, shift: int = 0) -> Callable[[Path], int | None]:
    return lambda tasks: edit(tasks / task / f"{task}.yaml", old, new) + shift


def _without(task: str, old: str, line: int | None = 1) -> Callable[[Path], int | None]:
    """Take something out; it is missed where the task begins."""

    def plant(tasks: Path) -> int | None:
        edit(tasks / task / f"{task}.yaml", old, "")
        return line

    return plant


def _register(old: str, new: str) -> Callable[[Path], int | None]:
    def plant(tasks: Path) -> None:
        edit(tasks / EXAM / "sources.yaml", old, new)

    return plant


def _document(number: int, **changes: object) -> Callable[[Path], int | None]:
    def plant(tasks: Path) -> int:
        path = tasks / EXAM / "samples" / f"{EXAM}.jsonl"
        documents = rows(path)
        documents[number].update(changes)
        write_rows(path, documents)
        return number + 1

    return plant


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
    Fault("unclosed bracket", "unreadable", "parsed", _in(EXAM, "- en\n", "- [en\n", 2), "my_exam.yaml"),
    Fault(
        "tab as indentation",
        "unreadable",
        "parsed",
        _in(EXAM, "  version: 1.0", "\tversion: 1.0"),
        "my_exam.yaml",
    ),
    Fault(
        "python object tag",
        "unreadable",
        "python/object",
        _in(EXAM, "- en\n", "- !!python/object/apply:os.getcwd []\n"),
        "my_exam.yaml",
    ),
    Fault(
        "no task name",
        "unreadable",
        "neither a task nor a group",
        _without(EXAM, "task: my_exam\n"),
        "my_exam.yaml",
    ),
    Fault(
        "missing template",
        "unreadable",
        "_tmplate",
        _in(EXAM, "task: my_exam\n", "include: _tmplate\ntask: my_exam\n"),
        "my_exam.yaml",
    ),
    Fault("include cycle", "unreadable", "included twice", _include_cycle, "my_exam.yaml"),
    Fault(
        "duplicate key",
        "duplicate-key",
        "'output_type'",
        _in(
            EXAM,
            "output_type: multiple_choice\n",
            "output_type: multiple_choice\noutput_type: multiple_choice\n",
            1,
        ),
        "my_exam.yaml",
    ),
    Fault(
        "misspelt key",
        "unknown-key",
        "'doc_to_txt'",
        _in(EXAM, "doc_to_text:", "doc_to_txt:"),
        "my_exam.yaml",
    ),
    Fault(
        "misspelt generation key",
        "unknown-key",
        "'max_gen_tokens'",
        _in(NER, "max_gen_toks:", "max_gen_tokens:"),
        "my_ner.yaml",
    ),
    Fault(
        "misspelt metric key",
        "unknown-key",
        "'agregation'",
        _in(EXAM, "  aggregation: mean", "  agregation: mean"),
        "my_exam.yaml",
    ),
    Fault(
        "function that the module lacks",
        "unresolved-function",
        "score_cmeee",
        _in(NER, "promptcblue.score_cmeee_v2", "promptcblue.score_cmeee_v3"),
        "my_ner.yaml",
    ),
    Fault(
        "module that does not exist",
        "unresolved-function",
        "medbench.scorin",
        _in(NER, SCORE, "process_results: !function medbench.scorin.mean"),
        "my_ner.yaml",
    ),
    Fault(
        "function without a module",
        "unresolved-function",
        "names no module",
        _in(NER, SCORE, "process_results: !function score"),
        "my_ner.yaml",
    ),
    Fault(
        "module that is no Python", "unresolved-function", "no valid Python", _broken_module, "my_ner.yaml"
    ),
    Fault(
        "no version", "missing-version", "'version'", _in(EXAM, "  version: 1.0\n", "", -1), "my_exam.yaml"
    ),
    Fault(
        "version in words",
        "missing-version",
        "no number",
        _in(EXAM, "version: 1.0", "version: first"),
        "my_exam.yaml",
    ),
    Fault(
        "no language", "missing-metadata", "'language'", _in(EXAM, "  language: en\n", "", -3), "my_exam.yaml"
    ),
    Fault(
        "unknown family",
        "unknown-value",
        "'exams'",
        _in(EXAM, "family: exam", "family: exams"),
        "my_exam.yaml",
    ),
    Fault(
        "language unlike the dataset's",
        "unknown-value",
        "'zh'",
        _in(EXAM, "language: en", "language: zh"),
        "my_exam.yaml",
    ),
    Fault(
        "metric without direction",
        "no-direction",
        "'acc'",
        _in(EXAM, "  higher_is_better: true\n", "", -2),
        "my_exam.yaml",
    ),
    Fault(
        "metric that lm-eval lacks",
        "unknown-metric",
        "'accuracy'",
        _in(EXAM, "- metric: acc\n", "- metric: accuracy\n"),
        "my_exam.yaml",
    ),
    Fault(
        "aggregation that lm-eval lacks",
        "no-aggregation",
        "'average'",
        _in(EXAM, "aggregation: mean", "aggregation: average"),
        "my_exam.yaml",
    ),
    Fault(
        "own metric without aggregation",
        "no-aggregation",
        "'f1'",
        _in(NER, "  aggregation: !function 'medbench.scoring.aggregation.micro_f1'\n", "", -1),
        "my_ner.yaml",
    ),
    Fault(
        "main metric that is not there",
        "main-metric-missing",
        "'accuracy'",
        _in(EXAM, "main_metric: acc", "main_metric: accuracy"),
        "my_exam.yaml",
    ),
    Fault(
        "misspelt output type",
        "unknown-value",
        "'multiple_choise'",
        _in(EXAM, "output_type: multiple_choice", "output_type: multiple_choise"),
        "my_exam.yaml",
    ),
    Fault(
        "no target", "no-prompt", "'doc_to_target'", _without(EXAM, "doc_to_target: answer\n"), "my_exam.yaml"
    ),
    Fault(
        "no options",
        "no-prompt",
        "'doc_to_choice'",
        _without(EXAM, "doc_to_choice: letters\n"),
        "my_exam.yaml",
    ),
    Fault("no split", "no-test-split", "no split", _without(EXAM, "test_split: test\n"), "my_exam.yaml"),
    Fault(
        "unbounded generation",
        "implicit-limit",
        "'max_gen_toks'",
        _without(NER, "  max_gen_toks: 1024\n", line=None),
        "my_ner.yaml",
    ),
    Fault(
        "examples from the test split",
        "fewshot-leak",
        "'test'",
        _in(NER, "fewshot_split: dev", "fewshot_split: test"),
        "my_ner.yaml",
    ),
    Fault(
        "examples without a split",
        "fewshot-leak",
        "no split is set apart",
        _in(EXAM, "test_split: test\n", "test_split: test\nnum_fewshot: 2\n", 1),
        "my_exam.yaml",
    ),
    Fault("example that is tested", "fewshot-leak", "my_exam-test-1", _same_example, "my_exam.jsonl"),
    Fault(
        "misspelt dataset",
        "unknown-dataset",
        "'my_exma'",
        _in(EXAM, "dataset: my_exam", "dataset: my_exma"),
        "my_exam.yaml",
    ),
    Fault(
        "no licence",
        "missing-licence",
        "licence",
        _register(
            "    licence: Apache-2.0 (the samples copied from medbench; state that of your own documents)\n",
            "",
        ),
        "my_exam.yaml",
    ),
    Fault(
        "no citation",
        "missing-citation",
        "citation",
        _register("    citation: not published\n", ""),
        "my_exam.yaml",
    ),
    Fault(
        "hub without a revision",
        "unpinned-source",
        "my_exam",
        _register("my_exam: {}", "my_exam: {hub: {id: someone/exam, splits: {test: test}}}"),
        "my_exam.yaml",
    ),
    Fault(
        "hub at a branch",
        "unpinned-source",
        "'main'",
        _register("my_exam: {}", "my_exam: {hub: {id: someone/exam, revision: main, splits: {test: test}}}"),
        "my_exam.yaml",
    ),
    Fault(
        "misspelt key of the register",
        "faulty-register",
        "'licnce'",
        _register("    licence:", "    licnce:"),
        ".yaml",
    ),
    Fault("no samples", "no-samples", "no bundled samples", _no_samples, ".yaml"),
    Fault("two samples", "no-samples", "2 sample documents", _two_samples, "my_exam.jsonl"),
    Fault(
        "gold outside the options",
        "faulty-documents",
        "outside the options",
        _document(4, answer="E"),
        "my_exam.jsonl",
    ),
    Fault(
        "empty question", "faulty-documents", "question is empty", _document(2, question=" "), "my_exam.jsonl"
    ),
    Fault(
        "id used twice",
        "faulty-documents",
        "occurs twice",
        _document(3, id="my_exam-test-1"),
        "my_exam.jsonl",
    ),
    Fault(
        "column that documents lack",
        "unknown-column",
        "'qestion'",
        _in(EXAM, "Question: {{question}}", "Question: {{qestion}}", -1),
        "my_exam.yaml",
    ),
    Fault(
        "template that does not parse",
        "template-syntax",
        "parsed",
        _in(EXAM, "{% endfor %}", "{% endfr %}", -3),
        "my_exam.yaml",
    ),
    Fault(
        "prompt that is a word",
        "constant-template",
        "same text",
        _in(NER, "doc_to_text: input", "doc_to_text: inputs"),
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
        _in(NER, SCORE, "process_results: !function os.getcwd"),
        "my_ner.yaml",
    ),
]


def found(report: CheckReport, fault: Fault, line: int | None) -> list[Finding]:
    return [
        finding
        for finding in report.findings
        if finding.code == fault.code
        and fault.message in finding.message
        and finding.file.name.endswith(fault.file)
        and (line is None or finding.line == line)
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


def _longer_target(tasks: Path) -> int | None:
    return edit(tasks / NER / f"{NER}.yaml", "doc_to_target: target", 'doc_to_target: "{{target[:4]}}"')


def _scoring(body: str) -> Callable[[Path], int | None]:
    def plant(tasks: Path) -> None:
        (tasks / NER / "own.py").write_text(
            "from medbench.scoring.promptcblue import score_cmeee_v2\n\n\n"
            f"def score(doc, results):\n    {body}\n    return score_cmeee_v2(doc, results)\n",
            encoding="utf-8",
        )
        edit(tasks / NER / f"{NER}.yaml", "'medbench.scoring.promptcblue.score_cmeee_v2'", "own.score")

    return plant


BEHAVIOUR = [
    Fault("target unlike the scoring's", "gold-not-maximum", "scores", _longer_target, "my_ner.yaml"),
    Fault("scoring that raises on gold", "gold-crash", "KeyError", _scoring("doc['gold']"), "my_ner.yaml"),
    Fault(
        "scoring that raises on nothing",
        "empty-answer-crash",
        "IndexError",
        _scoring("results[0][0]"),
        "my_ner.yaml",
    ),
    Fault(
        "prompt that renders nothing",
        "empty-prompt",
        "renders nothing",
        _in(NER, "doc_to_text: input", "doc_to_text: '{{answer_choices[99:] | join}}'"),
        "my_ner.yaml",
    ),
    Fault(
        "target that renders nothing",
        "empty-target",
        "renders nothing",
        _in(NER, "doc_to_target: target", "doc_to_target: '{{target[:0]}}'"),
        "my_ner.yaml",
    ),
    Fault(
        "several answers scored any-of",
        "any-of-gold",
        "several right",
        _document(1, answer="AC"),
        "my_exam.yaml",
    ),
    Fault(
        "split that does not exist",
        "cannot-build",
        "cannot build",
        _in(EXAM, "test_split: test", "test_split: tset"),
        "my_exam.yaml",
    ),
]


@pytest.mark.parametrize("fault", BEHAVIOUR, ids=[fault.name for fault in BEHAVIOUR])
def test_fault_is_found_by_trying(fault: Fault, tasks: Path) -> None:
    fault.plant(tasks)
    report = check_tasks([tasks], allow_code=True)
    assert found(report, fault, None), "\n".join(map(str, report.findings)) or "nothing was found"


def test_sound_tasks_give_no_finding_and_three_prompts_each(tasks: Path) -> None:
    report = check_tasks([tasks])
    assert report.ok, "\n".join(map(str, report.findings))
    assert set(report.checked) == {EXAM, NER}
    assert [rendering.task for rendering in report.renderings].count(EXAM) == 3
    assert all(rendering.prompt and rendering.target for rendering in report.renderings)


def test_code_from_outside_is_not_run_without_leave(tasks: Path) -> None:
    _scoring("open('trace.txt', 'w').write('ran')")(tasks)
    trace = tasks / NER / "trace.txt"
    (tasks / NER / "own.py").write_text(
        f"open({str(trace)!r}, 'w').write('ran')\n\ndef score(doc, results):\n    return {{}}\n",
        encoding="utf-8",
    )
    report = check_tasks([tasks])
    assert any(finding.code == "needs-leave" and "own.py" in finding.message for finding in report.findings)
    assert not trace.exists()
    check_tasks([tasks], allow_code=True)
    assert trace.exists()
