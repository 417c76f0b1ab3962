"""``medbench routing kinds``, ``ablate``, ``trace`` and ``agree`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from medbench.cli import main
from tests.analysis.factory import FakeTask, write_routing, write_run

TASK = "ceval_medical_basic_medicine"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_kinds_are_printed_beside_chance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [FakeTask("x"), FakeTask("y", language="zh")]
    run = write_run(tmp_path, "m", tasks, routing=write_routing(["x", "y"], documents=4))
    assert main(["routing", "kinds", str(run), "--by", "language", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["kind"], row["expert"]) for row in rows] == [(k, e) for k in ("en", "zh") for e in range(4)]
    assert all(row["chance"] == 0.5 and row["low"] <= row["rate"] <= row["high"] for row in rows)
    assert main(["routing", "kinds", str(run), "--each"]) == 0
    assert "Experts by kind of task" in capsys.readouterr().out
    assert main(["routing", "kinds", str(run), "--by", "colour"]) == 2
    assert "colour" in capsys.readouterr().err


def test_ablate_writes_its_pictures_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["routing", "ablate", "-t", TASK, "--limit", "2", "--results", str(tmp_path)]
    assert main([*start, "-v", "expert:0+1", "-v", "off", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {row["variant"] for row in answer["tasks"]} == {"expert:0+1", "off"}
    assert [row["kind"] for row in answer["kinds"]] == ["zh-exam", "zh-exam"]
    folder = Path(answer["folder"])
    assert {"ablation.html", "ablation.json", "documents.parquet", "effects.csv"} <= {
        path.name for path in folder.iterdir()
    }
    assert "Bundled samples, not a benchmark score" in (folder / "ablation.html").read_text(encoding="utf-8")
    assert main([*start, "-v", "expert:9"]) == 2
    assert "there is no expert 9" in capsys.readouterr().err
    assert main([*start, "--sweep", "everything"]) == 2


def test_two_checkpoints_are_traced_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("demo", "demo-early"):
        out = str(tmp_path / f"{model}.npz")
        assert main(["routing", "trace", "-m", model, "-t", TASK, "--limit", "2", "-o", out, "--json"]) == 0
    capsys.readouterr()
    files = [str(tmp_path / f"{model}.npz") for model in ("demo", "demo-early")]
    assert main(["routing", "agree", *files, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert all(row["chance"] == 0.25 and -1 / 3 <= row["kappa"] < 1 for row in rows)
    assert main(["routing", "agree", files[0], files[0], "--json"]) == 0
    assert {row["kappa"] for row in json.loads(capsys.readouterr().out)} == {1}
    assert main(["routing", "agree", files[0], str(tmp_path / "absent.npz")]) == 2


@pytest.mark.parametrize("command", ["show", "similarity", "kinds", "compare", "scores", "tokens"])
def test_a_run_without_routing_is_refused_in_one_message(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(write_run(tmp_path, "m", [FakeTask("x")]))
    assert main(["routing", command, run, *([run] if command == "compare" else [])]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("medbench: ")
    assert "try: " in said.err
    assert "columns" not in said.err


def test_an_unknown_phase_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(write_run(tmp_path, "m", [FakeTask("x")], routing=write_routing(["x"], documents=4)))
    for command in ("similarity", "kinds"):
        assert main(["routing", command, run, "--phase", "promt"]) == 2
        assert "'promt'" in capsys.readouterr().err


def test_an_unknown_kind_is_refused_before_the_ablation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["routing", "ablate", "-t", TASK, "--limit", "1", "--results", str(tmp_path)]
    assert main([*start, "--by", "colour"]) == 2
    assert "colour" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_of_runs_is_not_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "m", [FakeTask("x")])
    assert main(["routing", "tokens", str(tmp_path)]) == 2
    assert "no run lies here" in capsys.readouterr().err


def test_a_comparison_names_its_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = [
        str(write_run(tmp_path, name, [FakeTask("x")], routing=write_routing(["x"], documents=4)))
        for name in ("late", "early")
    ]
    assert main(["routing", "compare", *sides]) == 0
    assert "load: late; other: early" in capsys.readouterr().out
