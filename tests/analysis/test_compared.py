"""Rows of a comparison by hand: directions, groups of both signs, weights, and the documents compared."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd
import pytest

from medbench.analysis import Runs, compare, load_runs
from tests.analysis.factory import FakeTask, write_run


def _right(runs: Runs, model: str, task: str) -> pd.Series[float]:
    """Verdicts of a model by document."""
    samples = runs.samples(["document", "score"], tasks=[task])
    mine = samples[samples["model"] == model]
    return pd.Series(mine["score"].to_numpy(dtype=float), index=mine["document"].astype(str))


def _row(runs: Runs, task: str, **asked: Any) -> Any:
    return compare(runs, "base", draws=200, **asked).set_index("task").loc[task]


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("skill", [0.05, 0.95])
def test_a_difference_is_better_in_the_direction_of_its_metric(
    tmp_path: Path, higher_is_better: bool, skill: float
) -> None:
    for seed, (model, chance) in enumerate([("base", 0.5), ("mine", skill)]):
        task = FakeTask("t", n=80, skill=chance, extra={"higher_is_better": higher_is_better})
        write_run(tmp_path, model, [task], seed=seed)
    row = _row(load_runs(tmp_path), "t")
    assert (row["difference"] > 0) == (skill > 0.5)
    expected = "better" if (skill > 0.5) == higher_is_better else "worse"
    assert (row["verdict"], row["unadjusted"]) == (expected, expected)


@pytest.mark.parametrize("weighted", [True, False])
def test_a_group_weighs_its_tasks_by_the_documents_compared(tmp_path: Path, weighted: bool) -> None:
    names = ["few", "many"]
    for seed, (model, size) in enumerate([("base", 90), ("mine", 20)]):
        tasks = [FakeTask("few", n=size, skill=0.3 + 0.4 * seed), FakeTask("many", n=60, skill=0.5)]
        write_run(tmp_path, model, tasks, seed=seed, groups={"suite": names}, weighted=weighted)
    loaded = load_runs(tmp_path)
    row = _row(loaded, "suite", intersect=True)
    changes = []
    for name in names:
        mine = _right(loaded, "mine", name)
        changes.append((mine - _right(loaded, "base", name).loc[mine.index]).mean())
    shares = [20 / 80, 60 / 80] if weighted else [0.5, 0.5]
    assert row["n"] == 80
    assert row["difference"] == pytest.approx(shares[0] * changes[0] + shares[1] * changes[1])


@pytest.mark.parametrize("skill", [0.05, 0.15, 0.85, 0.95])
def test_the_p_value_of_a_group_reaches_from_its_difference_towards_zero(
    tmp_path: Path, skill: float
) -> None:
    names = ["one", "two"]
    for seed, (model, chance) in enumerate([("base", 0.5), ("mine", skill)]):
        # Extraction has skewed intervals, so that it matters on which side the error is read.
        tasks = [FakeTask("one", "extraction", 12, chance), FakeTask("two", n=15, skill=chance)]
        write_run(tmp_path, model, tasks, seed=seed, groups={"suite": names})
    row = _row(load_runs(tmp_path), "suite")
    reach = row["difference"] - row["low"] if row["difference"] > 0 else row["high"] - row["difference"]
    normal = NormalDist()
    expected = 2 * normal.cdf(-abs(row["difference"]) / (reach / normal.inv_cdf(0.975)))
    assert row["p_value"] == pytest.approx(expected)
    assert (row["difference"] > 0) == (skill > 0.5)


@pytest.mark.parametrize("column", ["prompt_hash", "doc_hash", "target_hash"])
def test_only_documents_that_were_asked_alike_are_compared(tmp_path: Path, column: str) -> None:
    for seed, model in enumerate(["base", "mine"]):
        folder = write_run(tmp_path, model, [FakeTask("t", n=40, skill=0.5)], seed=seed)
    frame = pd.read_parquet(folder / "samples.parquet")
    frame.loc[5:14, column] = "another"
    frame.to_parquet(folder / "samples.parquet")
    loaded = load_runs(tmp_path)
    row = _row(loaded, "t", intersect=True)
    kept = [f"t-{i}" for i in range(40) if not 5 <= i < 15]
    mine, base = (_right(loaded, model, "t").loc[kept] for model in ("mine", "base"))
    assert row["n"] == 30
    assert (row["score"], row["baseline_score"]) == pytest.approx((mine.mean(), base.mean()))
    assert row["wins"] == (mine > base).sum()
    assert row["losses"] == (mine < base).sum()
