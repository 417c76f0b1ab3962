"""``medbench scores --by`` and ``compare --by`` with an annotation of the documents."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from medbench.cli import main
from medbench.scoring.authors import verdict
from tests.analysis.factory import FakeTask, write_run
from tests.truth.ledger import text_rows

TYPE = "annotation.question_type"
TYPES = ("最佳选择题", "配伍选择题", "综合分析选择题", "多项选择题")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on an exam of four types in two parts, one with types for some, one without any."""
    folder = tmp_path_factory.mktemp("results")
    for seed, (model, skill) in enumerate([("good", 0.9), ("poor", 0.3)]):
        tasks = [
            FakeTask("ple_single", n=60, skill=skill, said={"subject": ("pharmacy",), TYPE: TYPES[:3]}),
            FakeTask("ple_multiple", n=20, skill=skill, said={TYPE: TYPES[3:]}),
            FakeTask("ward", n=40, skill=skill, said={TYPE: ("all", None)}),
            FakeTask("dose", "extraction", 30, skill),
        ]
        groups = {"ple": ["ple_single", "ple_multiple"]}
        write_run(folder, model, tasks, seed=seed, groups=groups, weighted=True)
    return folder


def _lines(text: str) -> list[list[str]]:
    return [list(row.values()) for row in text_rows(text)]


def test_an_exam_by_question_type(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scores", str(results), "--by", "question_type"]) == 0
    text = capsys.readouterr().out
    lines = _lines(text)
    assert [line[:2] for line in lines] == [
        *[["ple", name] for name in (*TYPES, "all")],
        *[["ple_single", name] for name in (*TYPES[:3], "all")],
        *[["ple_multiple", name] for name in (TYPES[3], "all")],
        *[["ward", "all"], ["ward", "not annotated"], ["ward", "all"]],
    ]
    assert [line[3] for line in lines] == [
        *["20", "20", "20", "20", "80"],
        *["20", "20", "20", "60"],
        "20",
        "20",
        *["20", "20", "40"],
    ]
    assert "dose: none of its documents is annotated so." in text
    assert "no mean of its cells" in text
    by_type = {line[1]: float(line[4]) for line in lines if line[0] == "ple"}
    assert by_type["all"] == pytest.approx(sum(by_type[name] for name in TYPES) / 4, abs=0.1)


def test_forms_hold_the_same_rows(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["scores", str(results), "--by", "question_type", "-t", "ple"]
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main([*words, "-f", "csv"]) == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert frame["value"].tolist() == [row["value"] for row in rows]
    assert frame["cell"].fillna("").tolist() == [row["cell"] or "" for row in rows]
    assert {row["by"] for row in rows} == {TYPE}
    assert {row["task"] for row in rows} == {"ple", "ple_single", "ple_multiple"}
    best = {(row["task"], row["cell"], row["model"]) for row in rows if row["best"]}
    for task, cell, model in best:
        values = {row["model"]: row["value"] for row in rows if (row["task"], row["cell"]) == (task, cell)}
        assert values[model] == max(values.values())
    assert len({(task, cell) for task, cell, _ in best}) == 11
    for form, sign in (
        ("markdown", "| ple | 多项选择题 | 20 |"),
        ("latex", r"ple & 多项选择题 & 20"),
        ("html", "<td>多项选择题</td>"),
    ):
        assert main([*words, "-f", form]) == 0
        assert sign in capsys.readouterr().out


def test_runs_side_by_side(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scores", str(results), "--by", "run,question_type", "--json"]) == 0
    together = json.loads(capsys.readouterr().out)
    assert main(["scores", str(results), "--by", "run", "--by", "annotation.question_type", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == together
    assert {row["model"] for row in together} == {
        f"{name}/20260101-000000-0123456789" for name in ("good", "poor")
    }


def test_differences_by_question_type(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(results), "--baseline", "good", "--by", "question_type"]
    assert main(words) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "poor beside good, 4 tasks:" in text
    assert "poor beside good, 5 cells:" in text
    assert "poor, ward: 20 of 40 documents have no question_type: in no cell." in text
    assert "poor, dose: 30 of 30 documents have no question_type: in no cell." in text
    assert "over all cells of a model" in text
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["kind"] for row in rows].count("cell") == 5
    assert main([*words, "-f", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(line["p_value"]) for line in table] == [row["p_value"] for row in rows]
    assert [line["cell"] for line in table] == [row["cell"] for row in rows]
    assert main([*words, "--fail-on-regression"]) == 1


def test_differences_of_runs(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_model = ["compare", str(results), "--by", "question_type", "--json"]
    assert main(by_model) == 0
    expected = json.loads(capsys.readouterr().out)
    assert main([*by_model, "--by", "run"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in rows} == {"poor/20260101-000000-0123456789"}
    assert {row["baseline"] for row in rows} == {"good/20260101-000000-0123456789"}
    assert [row["p_adjusted"] for row in rows] == [row["p_adjusted"] for row in expected]


def test_a_worse_cell_fails_a_build_that_no_task_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {TYPE: ("a", "b")}
    for model, right in (("old", (True, False)), ("new", (False, True))):
        write_run(tmp_path, model, [FakeTask("t", n=40, verdicts=right * 20, said=said)])
    words = ["compare", str(tmp_path), "--baseline", "old", "--fail-on-regression"]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--by", "question_type"]) == 1
    assert "1 worse (t a) and 1 better (t b)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["scores", "compare"])
@pytest.mark.parametrize(
    ("by", "hint"),
    [
        (["question_typ"], "did you mean question_type?"),
        (["question-type"], "did you mean question_type?"),
        (["annotation.questiontype"], "did you mean question_type?"),
        (["subjekt"], "did you mean subject?"),
        (["difficulty"], "there are subject, question_type"),
        (["task"], "there are subject, question_type"),
        (["metric.acc"], "there are subject, question_type"),
        (["zzz"], "by model or by run"),
        (["models"], "by model or by run"),
        (["run", "zzz"], "there are subject, question_type"),
        (["model", "run"], "give model or run, and one annotation"),
        (["subject,question_type"], "give model or run, and one annotation"),
        ([""], "leave the option away"),
        ([" , "], "leave the option away"),
    ],
)
def test_unknown_columns_are_errors(
    results: Path, command: str, by: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(results), *[word for name in by for word in ("--by", name)]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert hint in captured.err


@pytest.mark.parametrize(
    ("command", "says"),
    [("scores", "no task has scores by"), ("compare", "no document that was compared is")],
)
def test_tasks_without_the_annotation_are_an_error(
    results: Path, command: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(results), "--by", "question_type", "-t", "dose"]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert "dose" in captured.err


@pytest.mark.parametrize(
    "text", ["=1+1", "a|b", "<b>x</b>", "a & b", "[red]x", "\x1b[31mred", "x\ny", "50%", "_", "all"]
)
def test_cells_play_no_tricks(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, model in enumerate(("one", "two")):
        write_run(tmp_path, model, [FakeTask("t", n=20, said={TYPE: (text, "plain")})], seed=seed)
    for command in ("scores", "compare"):
        words = [command, str(tmp_path), "--by", "question_type"]
        assert main([*words, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["cell"] for row in rows if row["kind"] == "cell"].count(text) == (
            2 if command == "scores" else 1
        )
        for form in ("text", "markdown", "csv", "latex", "html"):
            assert main([*words, "-f", form]) == 0
            out = capsys.readouterr().out
            assert "\x1b" not in out
            assert "<b>x" not in out or form in ("text", "csv", "latex")


def _written(rows: list[tuple[str, int]]) -> list[list[str]]:
    """`type_acc.csv` of the exam protocols: types in order of first appearance, then all rows pooled."""
    types = list(dict.fromkeys(kind for kind, _ in rows))
    table = [(kind, [right for other, right in rows if other == kind]) for kind in types]
    table.append(("AVERAGE", [right for _, right in rows]))
    return [[kind, f"{sum(found) / len(found):.6f}"] for kind, found in table]


@pytest.mark.parametrize("dataset", ["CMB", "CMExam", "PLE_Pharmacy", "PLE_TCM", "MedMCQA", "mmlu"])
def test_the_authors_table_of_golden_verdicts(
    tmp_path: Path, shared: Path, dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "golden" / "protocols" / "medcare_rules.jsonl"
    golden = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    golden = [row for row in golden if row["dataset"] == dataset]
    assert len(golden) > 30
    kinds = [TYPES[(len(row["gold"]) + number) % 4] for number, row in enumerate(golden)]
    ours = tuple(verdict("medcare", dataset, row["lang"], row["text"], row["gold"]) for row in golden)
    write_run(tmp_path, "m", [FakeTask("t", n=len(golden), verdicts=ours, said={TYPE: kinds})])
    assert main(["scores", str(tmp_path), "--by", "question_type", "-f", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    shown = [[row["cell"] or "AVERAGE", f"{float(row['value']):.6f}"] for row in table]
    assert shown == _written(list(zip(kinds, (row["verdict"] for row in golden), strict=True)))
