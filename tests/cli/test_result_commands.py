"""``medbench report``, ``compare``, ``leaderboard`` and ``routing`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbench.cli import main
from tests.analysis.factory import FakeTask, write_routing, write_run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good and a poor model."""
    folder = tmp_path_factory.mktemp("results")
    for seed, (model, skill) in enumerate([("good", 0.9), ("poor", 0.3)]):
        tasks = [FakeTask("x", n=60, skill=skill), FakeTask("y", "extraction", 40, skill)]
        routing = write_routing(["x", "y"], seed=seed)
        write_run(folder, model, tasks, seed=seed, groups={"suite": ["x", "y"]}, routing=routing)
    return folder


def test_compare_prints_a_table(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(results), "--baseline", "poor"]) == 0
    out = capsys.readouterr().out
    assert "Differences from poor" in out
    assert "better" in out


def test_compare_gives_json(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(results), "-b", "poor", "--json", "--task", "x"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["task"] for row in rows] == ["x"]
    assert rows[0]["verdict"] == "better"
    assert 0 <= rows[0]["p_value"] <= rows[0]["p_adjusted"] < 0.05


def test_a_regression_fails_when_asked(results: Path) -> None:
    assert main(["compare", str(results), "-b", "good", "--fail-on-regression"]) == 1
    assert main(["compare", str(results), "-b", "poor", "--fail-on-regression"]) == 0
    assert main(["compare", str(results), "-b", "good"]) == 0


def test_leaderboard_is_written_to_a_file(results: Path, tmp_path: Path) -> None:
    target = tmp_path / "board.tex"
    assert main(["leaderboard", str(results), "--format", "latex", "-o", str(target)]) == 0
    assert r"\toprule" in target.read_text(encoding="utf-8")


def test_leaderboard_gives_json_and_shows_published_scores(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = tmp_path / "published.yaml"
    published.write_text("- {model: paper, source: a table, scores: {x: 0.5, y: 0.5}}", encoding="utf-8")
    assert main(["leaderboard", str(results), "--published", str(published), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in rows] == ["good", "paper", "poor"]
    assert [row["rank"] for row in rows] == [1, None, 2]
    assert {"model", "score", "low", "high", "n", "run"} <= rows[0].keys()
    assert rows[0]["low"] < rows[0]["score"] < rows[0]["high"]
    assert (rows[0]["n"], rows[0]["run"]) == (100, "20260101-000000-0123456789")
    assert (rows[1]["score"], rows[1]["n"], rows[1]["run"]) == (0.5, None, None)


def test_report_is_written(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "deep" / "report.html"
    assert main(["report", str(results), "-o", str(target), "--title", "T", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["report"] == str(target)
    assert len(said["runs"]) == 2
    assert "<title>T</title>" in target.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["show", "similarity"])
def test_routing_is_shown(results: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routing", command, str(results)]) == 0
    assert "good" in capsys.readouterr().out
    assert main(["routing", command, str(results), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_routing_of_two_runs_is_compared(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routing", "compare", str(results / "good"), str(results / "poor"), "-f", "csv"]) == 0
    assert capsys.readouterr().out.startswith(
        "task,layer,projection,expert,load,load_other,difference,load_chance"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "{results}", "--baseline", "nobody"],
        ["compare", "nowhere"],
        ["leaderboard", "{results}", "--suite", "nothing"],
        ["leaderboard", "{results}", "--format", "pdf"],
        ["leaderboard", "{results}", "--published", "nowhere.yaml"],
        ["report", "nowhere"],
        ["routing", "show", "{results}", "--by", "moon"],
        ["compare", "{results}", "--alpha", "2"],
    ],
)
def test_wrong_input_ends_with_one_message(
    results: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([part.format(results=results) for part in arguments]) == 2
    said = capsys.readouterr().err
    assert said
    assert "Traceback" not in said
