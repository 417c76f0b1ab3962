"""Paired comparison and its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medbench.analysis import Runs, compare, load_runs
from medbench.errors import AnalysisError
from medbench.statistics import holm, paired
from tests.analysis.factory import FakeTask, write_run


def test_every_kind_of_metric_is_compared(runs: Runs) -> None:
    frame = compare(runs, "weak", draws=1_000)
    assert set(frame["model"]) == {"strong", "middling"}
    strong = frame[frame["model"] == "strong"].set_index("task")
    assert strong["test"].to_dict() == {
        "suite": "z",
        "cmexam": "mcnemar-exact",
        "medqa_us": "randomisation",
        "cmeee_v2": "randomisation",
        "kuake_ir": "randomisation",
    }
    assert (strong["verdict"] == "better").all()
    assert (strong["difference"] > 0).all()
    assert strong.loc["suite", "difference"] == pytest.approx(strong.drop("suite")["difference"].mean())
    assert strong.loc["medqa_us", "interval"] == "t-clustered"


def test_figures_are_those_of_the_statistics(runs: Runs) -> None:
    frame = compare(runs, "weak", draws=500)
    samples = runs.samples(tasks=["cmexam"]).pivot(index="document", columns="model", values="metric.acc")
    expected = paired(samples["strong"].to_numpy(), samples["weak"].to_numpy())
    row = frame.query("model == 'strong' and task == 'cmexam'").to_dict("records")[0]
    assert [row[name] for name in ("difference", "low", "high", "p_value")] == pytest.approx(
        [expected.difference, expected.low, expected.high, expected.p_value]
    )
    assert (row["wins"], row["losses"], row["n"]) == (expected.wins, expected.losses, 90)
    tasks = frame.query("model == 'strong' and kind == 'task'")
    assert tasks["p_adjusted"].tolist() == pytest.approx(holm(tasks["p_value"].to_numpy()).tolist())


def test_scores_of_a_comparison_are_those_of_the_runs(runs: Runs) -> None:
    rows = runs.scores().to_dict("records")
    scores = {(row["model"], row["task"]): row["value"] for row in rows}
    for row in compare(runs, "weak", draws=200).to_dict("records"):
        assert row["score"] == pytest.approx(scores[(row["model"], row["task"])])
        assert row["baseline_score"] == pytest.approx(scores[("weak", row["task"])])


@pytest.mark.parametrize("seed", range(8))
def test_the_p_value_of_a_group_agrees_with_its_interval(tmp_path: Path, seed: int) -> None:
    names = [f"task{number}" for number in range(4)]
    for model, skill, shift in (("weak", 0.5, 0), ("strong", 0.5 + seed / 16, 1)):
        # Few documents, of which some tasks have no flip at all.
        tasks = [
            FakeTask(name, n=6, skill=1.0 if number == 0 else skill) for number, name in enumerate(names)
        ]
        write_run(tmp_path, model, tasks, seed=2 * seed + shift, groups={"suite": names})
    row = compare(load_runs(tmp_path), "weak", draws=200).set_index("task").loc["suite"]
    assert (row["p_value"] <= 0.05) == (not row["low"] <= 0 <= row["high"])
    assert (row["verdict"] == "undecided") == (row["p_value"] > 0.05)


def _two(tmp_path: Path, first: FakeTask, second: FakeTask) -> Runs:
    common = FakeTask("common")
    write_run(tmp_path, "a", [first, common], groups={"suite": [first.name, "common"]})
    write_run(tmp_path, "b", [second, common], seed=1, groups={"suite": [second.name, "common"]})
    return load_runs(tmp_path)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (FakeTask("t", prompt="Another question {i}?"), "40 prompts differ (t-0, t-1, t-2, …)"),
        (FakeTask("t", n=30), "10 documents only in a (t-30, t-31, t-32, …)"),
        (FakeTask("t", extra={"metric": "acc_norm"}), "the metric differs"),
        (FakeTask("t", extra={"filter": "strict"}), "the filter differs"),
        (FakeTask("t", extra={"aggregation": "median"}), "the aggregation differs"),
    ],
)
def test_different_questions_are_refused_with_the_reason(
    tmp_path: Path, second: FakeTask, reason: str
) -> None:
    loaded = _two(tmp_path, FakeTask("t"), second)
    rows = compare(loaded, "a", draws=200).set_index("task").to_dict("index")
    assert rows["t"]["verdict"] == "refused"
    assert reason in rows["t"]["reason"]
    assert rows["common"]["verdict"] != "refused"
    assert "cannot be averaged without t" in rows["suite"]["reason"]
    with pytest.raises(AnalysisError, match="nothing may be compared"):
        compare(loaded, "a", tasks=["t"], draws=200)


def test_the_intersection_is_compared_when_asked_for(tmp_path: Path) -> None:
    loaded = _two(tmp_path, FakeTask("t"), FakeTask("t", n=30))
    row = compare(loaded, "a", intersect=True, draws=200).set_index("task").loc["t"]
    assert row["n"] == 30
    assert "10 documents only in" in row["reason"]


def test_prompts_may_differ_when_allowed(tmp_path: Path) -> None:
    loaded = _two(tmp_path, FakeTask("t"), FakeTask("t", prompt="<chat>{i}{name}"))
    row = compare(loaded, "a", ignore=["prompt"], draws=200).set_index("task").loc["t"]
    assert row["n"] == 40
    with pytest.raises(AnalysisError, match="document"):
        compare(loaded, "a", ignore=["document"])


def test_wrong_requests(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="weak"):
        compare(runs, "nobody")
    with pytest.raises(AnalysisError, match="nothing to compare"):
        compare(runs.select(model="weak"), "weak")
    write_run(tmp_path, "a", [FakeTask("x")])
    write_run(tmp_path, "b", [FakeTask("y")])
    with pytest.raises(AnalysisError, match="no task in common"):
        compare(load_runs(tmp_path), "a")


def test_the_newest_run_of_a_model_speaks_unless_runs_are_compared(tmp_path: Path) -> None:
    for seed, run in enumerate(["20260101-000000-a", "20260102-000000-b"]):
        write_run(tmp_path, "m", [FakeTask("t", skill=0.2 + 0.7 * seed)], run=run, seed=seed)
    write_run(tmp_path, "base", [FakeTask("t", skill=0.2)], seed=9)
    loaded = load_runs(tmp_path)
    row = compare(loaded, "base").iloc[0]
    assert row["score"] > 0.7
    by_run = compare(loaded, "m/20260101-000000-a", by="run")
    assert set(by_run["model"]) == {"m/20260102-000000-b", "base/20260101-000000-0123456789"}


def test_repeated_document_ids_are_matched_in_order(tmp_path: Path) -> None:
    for seed, model in enumerate("ab"):
        folder = write_run(tmp_path, model, [FakeTask("t", n=10)], seed=seed)
        path = folder / "samples.parquet"
        frame = pd.read_parquet(path)
        frame["document"] = "same"
        frame.to_parquet(path)
    row = compare(load_runs(tmp_path), "a").iloc[0]
    assert row["n"] == 10


def test_comparisons_repeat(runs: Runs) -> None:
    first, again = (compare(runs, "weak", draws=300) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert np.isfinite(first["detectable"]).all()
