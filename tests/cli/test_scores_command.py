"""``medbench scores``, and names that no run knows, from the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from medbench.cli import main
from tests.analysis.factory import FakeTask, write_run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full run of two models, and a smoke test of the first."""
    folder = tmp_path_factory.mktemp("results")
    for seed, (model, skill) in enumerate([("good", 0.9), ("poor", 0.3)]):
        tasks = [FakeTask("ward", n=60, skill=skill), FakeTask("dose", "extraction", 40, skill)]
        write_run(folder, model, tasks, seed=seed, groups={"suite": ["ward", "dose"]})
    smoke = [FakeTask("ward", n=2, skill=1.0)]
    write_run(folder, "good", smoke, run="20260201-000000-b", manifest={"settings": {"limit": 2}})
    return folder


def test_tasks_by_models(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scores", str(results)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    head = next(line for line in lines if line.startswith("task"))
    assert [part.strip() for part in head.split("┃")] == [
        "task",
        "metric",
        "n",
        "good",
        "poor",
        "good · limit 2",
    ]
    ward = [part.strip() for part in next(line for line in lines if line.startswith("ward")).split("│")]
    assert ward[2] == "differs"
    assert ward[3].endswith("(60)")
    assert ward[5] == "100.0 (2)"
    assert [line.split()[0] for line in lines if "│" in line] == ["suite", "ward", "dose"]
    assert any(line.startswith("good · limit 2: ") and "limit 2 ·" in line for line in lines)


def test_rows_for_scripts(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scores", str(results), "--json", "-t", "ward"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["model"], row["n"]) for row in rows} == {("good", 60), ("poor", 60), ("good · limit 2", 2)}
    assert main(["scores", str(results), "-f", "csv", "-t", "ward"]) == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert frame["value"].tolist() == [row["value"] for row in rows]
    # A limited run is no rival: it is neither the best, nor does it take that away.
    assert dict(zip(frame["model"], frame["best"], strict=True)) == {
        "good": True,
        "poor": False,
        "good · limit 2": False,
    }


def test_a_table_for_a_paper(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scores", str(results), "-f", "latex", "--intervals"]) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("dose"))
    assert row.startswith(r"dose & 40 & \textbf{")
    assert "[" in row
    assert main(["scores", str(results), "-f", "markdown", "-t", "suite", "--by", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| suite | 100 | **") for line in lines)


@pytest.mark.parametrize("command", ["scores", "compare", "leaderboard"])
@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["-t", "wrd"], "did you mean ward?"),
        (["-t", "ward,dse"], "did you mean dose?"),
        (["-t", "ward", "-t", "nope"], "there are suite, ward, dose"),
        (["-t", "suit"], "did you mean suite?"),
        (["-t", ""], "leave the option away"),
        (["-t", " , "], "leave the option away"),
        (["--by", "moon"], "by model or by run"),
    ],
)
def test_unknown_names_are_errors(
    results: Path, command: str, names: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(results), *names]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert hint in captured.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["leaderboard", "-s", "sute"], "did you mean suite?"),
        (["leaderboard", "-s", "ward"], "there are suite"),
        (["compare", "-b", "god"], "did you mean good?"),
        (["compare", "-b", "zzz"], "there are good, good · limit 2, poor"),
        (["compare", "-b", "good", "--by", "run"], "good/20260101"),
    ],
)
def test_unknown_systems_and_suites_are_errors(
    results: Path, arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *rest = arguments
    assert main([command, str(results), *rest]) == 2
    assert hint in capsys.readouterr().err


def test_hints_name_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "a", [FakeTask("t")])
    write_run(tmp_path, "b", [FakeTask("t", prompt="<chat>{i}{name}")])
    assert main(["compare", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "--ignore-prompts" in said
    assert "--intersect" in said
    assert main(["compare", str(tmp_path), "--ignore-prompts"]) == 0
    assert main(["compare", str(tmp_path / "a")]) == 2
    assert "--by run" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["--tasks", ""], ["--tasks", ","], ["-t", " "]])
def test_an_empty_variable_does_not_run_everything(
    tmp_path: Path, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--results", str(tmp_path), *names]) == 2
    assert "names nothing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
