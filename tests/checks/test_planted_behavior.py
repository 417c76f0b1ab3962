"""Faults that only show when a task is tried are found; sound tasks give no finding and their prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from medbench.checks import check_tasks, new_task
from tests.checks.planting import EXAM, NER, Fault, edit, found, in_document, planted, rows, write_rows


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


BEHAVIOR = [
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
        planted(NER, "doc_to_text: input", "doc_to_text: '{{answer_choices[99:] | join}}'"),
        "my_ner.yaml",
    ),
    Fault(
        "target that renders nothing",
        "empty-target",
        "renders nothing",
        planted(NER, "doc_to_target: target", "doc_to_target: '{{target[:0]}}'"),
        "my_ner.yaml",
    ),
    Fault(
        "several answers scored any-of",
        "any-of-gold",
        "several right",
        in_document(1, answer="AC"),
        "my_exam.yaml",
    ),
    Fault(
        "split that does not exist",
        "cannot-build",
        "cannot build",
        planted(EXAM, "test_split: test", "test_split: tset"),
        "my_exam.yaml",
    ),
]


@pytest.mark.parametrize("fault", BEHAVIOR, ids=[fault.name for fault in BEHAVIOR])
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


def test_documents_of_a_folder_are_looked_at_in_place_of_the_samples(tasks: Path, tmp_path: Path) -> None:
    documents = rows(tasks / EXAM / "samples" / f"{EXAM}.jsonl")
    documents[2]["answer"] = "AB"
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / f"{EXAM}.jsonl", documents)
    assert check_tasks([tasks]).ok
    (finding,) = check_tasks([tasks], data_dir=folder).findings
    assert finding.code == "any-of-gold"
    assert finding.message.startswith("1 of 8 documents have several right answers")
    documents[4]["answer"] = "Z"
    write_rows(folder / f"{EXAM}.jsonl", documents)
    (finding,) = check_tasks([tasks], behave=False, data_dir=folder).findings
    assert (finding.file.name, finding.line, finding.code) == (f"{EXAM}.jsonl", 5, "faulty-documents")


@pytest.mark.parametrize(("published", "severity"), [(True, "warning"), (False, "error")])
def test_documents_that_were_published_so_are_a_warning(
    published: bool, severity: str, tasks: Path, tmp_path: Path
) -> None:
    documents = rows(tasks / EXAM / "samples" / f"{EXAM}.jsonl")
    documents[2]["options"] = ["x", "y", "x", "z"]
    documents[2]["answer"] = "B"
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / f"{EXAM}.jsonl", documents)
    if published:
        content = (folder / f"{EXAM}.jsonl").read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        pin = f"{{sha256: {checksum}, bytes: {len(content)}, licence: MIT, note: ours}}"
        register = tasks / EXAM / "sources.yaml"
        with register.open("a", encoding="utf-8") as file:
            file.write(f"files:\n  {EXAM}.jsonl: {pin}\n")
    report = check_tasks([tasks], data_dir=folder)
    assert [(finding.code, finding.severity) for finding in report.findings] == [
        ("repeated-option", severity)
    ]


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("Which drug? Answer: {answer}", True),
        ("Which drug? The answer is {answer}.", True),
        ("Which drug? 答案：{answer}", True),
        ("Which drug? (Ans. {answer})", True),
        ("Which drug? Answer ({answer})", True),
        ("What do the scans. {answer} total of 80 scans show?", False),
        ("Which questionnaire answers {small} question of interest?", False),
        ("How do trans {answer} and cis {answer} differ?", False),
        ("Can the spans {answer} to {answer} overlap?", False),
        ("What answers {small} need?", False),
    ],
)
def test_a_question_that_announces_its_answer(question: str, told: bool, tasks: Path) -> None:
    path = tasks / EXAM / "samples" / f"{EXAM}.jsonl"
    documents = rows(path)
    answer = str(documents[1]["answer"])
    documents[1]["question"] = question.format(answer=answer, small=answer.lower())
    write_rows(path, documents)
    codes = {finding.code for finding in check_tasks([tasks]).findings}
    assert ("answer-in-prompt" in codes) is told


def test_a_question_may_name_an_option_behind_an_article(tasks: Path) -> None:
    path = tasks / EXAM / "samples" / f"{EXAM}.jsonl"
    documents = rows(path)
    options = ["Iron", "Zinc", "Cobalt", "Copper"]
    documents[1] |= {"question": "A cobalt implant fails. Which metal?", "options": options, "answer": "C"}
    write_rows(path, documents)
    assert check_tasks([tasks]).findings == ()


SCORINGS = [
    ("{'acc': 1.0}", "wrong-answer-scores"),
    ("{'acc': float(bool(results[0]))}", "wrong-answer-scores"),
    ("{'acc': float(results[0].strip('.')[-1] in 'ABCD')}", "wrong-answer-scores"),
    ("{'acc': float(results[0].strip('.')[-1] == 'A')}", "gold-not-maximum"),
    ("{'acc': float(results[0].strip('.')[-1] != doc['answer'])}", "wrong-answer-scores"),
    ("{'acc': {doc['answer']: 1.0}[results[0].strip('.')[-1:] or doc['answer']]}", "wrong-answer-crash"),
]


@pytest.mark.parametrize(("body", "code"), SCORINGS)
def test_scoring_tells_right_from_wrong(body: str, code: str, tmp_path: Path) -> None:
    folder = new_task("my_direct", "medqa_us_direct", tmp_path)
    path = folder / "my_direct.yaml"
    text = path.read_text(encoding="utf-8").replace("'medbench.scoring.exams.score_generated'", "own.score")
    head, _, tail = text.partition("metric_list:\n")
    kept = tail[tail.index("tag:") :]
    metric = "- {metric: acc, aggregation: mean, higher_is_better: true}\n"
    path.write_text(f"{head}metric_list:\n{metric}{kept}", encoding="utf-8")
    (folder / "own.py").write_text(f"def score(doc, results):\n    return {body}\n", encoding="utf-8")
    codes = {finding.code for finding in check_tasks([folder], allow_code=True).findings}
    assert code in codes
