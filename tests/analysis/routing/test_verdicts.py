"""The verdict of a comparison is Holm's, over all tasks of a model: the promise that its table makes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from medbench.analysis import compare, load_runs
from medbench.cli.main import main
from tests.analysis.factory import FakeTask, write_run

NAMES = [f"task{number:02}" for number in range(12)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that differ by so much that single tasks look significant, and few are among so many."""
    folder = tmp_path_factory.mktemp("results")
    for seed, (model, skill) in enumerate([("weak", 0.45), ("strong", 0.7)]):
        write_run(folder, model, [FakeTask(name, n=40, skill=skill) for name in NAMES], seed=seed)
    return folder


def holm_by_hand(values: list[float]) -> list[float]:
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


def check(rows: pd.DataFrame) -> None:
    assert len(rows) == len(NAMES)
    adjusted = holm_by_hand(rows["p_value"].tolist())
    assert rows["p_adjusted"].tolist() == pytest.approx(adjusted)
    expected = [
        "undecided" if p > 0.05 else "better" if difference > 0 else "worse"
        for p, difference in zip(adjusted, rows["difference"], strict=True)
    ]
    assert rows["verdict"].tolist() == expected
    alone = (rows["p_value"] <= 0.05).sum()
    assert 0 < sum(p <= 0.05 for p in adjusted) < alone  # so that a verdict by the raw p would differ


@pytest.mark.parametrize("baseline", ["weak", "strong"])
def test_verdicts_are_those_of_the_adjusted_p(results: Path, baseline: str) -> None:
    frame = compare(load_runs(results), baseline, draws=200)
    check(frame[frame["kind"] == "task"])


def test_verdicts_on_the_command_line_are_the_same(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(results), "--baseline", "weak", "--json"]) == 0
    frame = pd.DataFrame(json.loads(capsys.readouterr().out))
    check(frame[frame["kind"] == "task"] if "kind" in frame else frame)
