"""Rankings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medbench.analysis import Published, Runs, leaderboard, load_runs, read_published
from medbench.errors import AnalysisError
from tests.analysis.conftest import NAMES, fake_tasks
from tests.analysis.factory import FakeTask, write_run


def test_ranking(runs: Runs) -> None:
    board = leaderboard(runs)
    assert board.suite == "suite"
    assert board.tasks == dict.fromkeys(NAMES, 0.25)
    ranking = board.ranking.set_index("model").to_dict("index")
    assert list(ranking) == ["strong", "middling", "weak"]
    assert [row["rank"] for row in ranking.values()] == [1, 2, 3]
    assert (ranking["strong"]["rank_low"], ranking["strong"]["rank_high"]) == (1, 1)
    groups = runs.scores().query("kind == 'group'").set_index("model").to_dict("index")
    for model, row in ranking.items():
        for name in ("value", "low", "high"):
            assert row[name] == pytest.approx(groups[model][name])
    mine = runs.scores().query("model == 'strong' and kind == 'task'").set_index("task")["value"]
    assert ranking["strong"]["language.zh"] == pytest.approx(mine[["cmexam", "cmeee_v2", "kuake_ir"]].mean())
    assert ranking["strong"]["family.exam"] == pytest.approx(mine[["cmexam", "medqa_us"]].mean())


def test_a_missing_task_is_missing_and_never_averaged_over(folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path, "half", fake_tasks(0.99)[:2], seed=5)
    board = leaderboard(load_runs([folder, tmp_path]))
    row = board.ranking.set_index("model").to_dict("index")["half"]
    assert np.isnan(row["value"])
    assert np.isnan(row["language.zh"])
    assert row["missing"] == ["cmeee_v2", "kuake_ir"]
    assert row["rank"] is None
    assert board.ranking["model"].iloc[-1] == "half"
    assert board.scores.query("model == 'half' and task == 'kuake_ir'")["value"].isna().all()


def test_near_ties_share_ranks(tmp_path: Path) -> None:
    for seed, model in enumerate(["a", "b"]):
        write_run(tmp_path, model, [FakeTask("t", n=40, skill=0.6)], seed=seed)
    write_run(tmp_path, "c", [FakeTask("t", n=40, skill=0.02)], seed=3)
    ranking = leaderboard(load_runs(tmp_path)).ranking.set_index("model").to_dict("index")
    ranges = {model: (row["rank_low"], row["rank_high"]) for model, row in ranking.items()}
    assert ranges == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}


def test_nested_and_sized_groups_weigh_their_tasks(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tasks = [FakeTask("x", n=10), FakeTask("y", n=30), FakeTask("z", n=20)]
    folder = write_run(tmp_path, "m", tasks, groups={"inner": ["x", "y"], "outer": ["inner", "z"]})
    path = folder / "scores.parquet"
    rows = pq.read_table(path)
    records = rows.to_pylist()
    for row in records:
        if row["task"] == "inner":
            row["aggregation"] = "weighted"
    pq.write_table(pa.Table.from_pylist(records, schema=rows.schema), path)
    board = leaderboard(load_runs(tmp_path), "outer")
    assert board.tasks == pytest.approx({"x": 0.125, "y": 0.375, "z": 0.5})


def test_published_scores_are_shown_and_not_ranked(runs: Runs) -> None:
    entry = Published("elsewhere", "Table 2 of a paper", {"cmexam": 0.5, "suite": 0.95})
    ranking = leaderboard(runs, published=[entry]).ranking
    assert ranking["model"].iloc[0] == "elsewhere"
    row = ranking.iloc[0]
    assert not row["comparable"]
    assert str(row["rank"]) == "<NA>"
    assert ranking.set_index("model").loc["strong", "rank"] == 1


def test_published_file(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text("- model: m\n  source: s\n  scores: {cmexam: 0.5}\n", encoding="utf-8")
    assert read_published(path) == [Published("m", "s", {"cmexam": 0.5})]
    for wrong in (
        "{",
        "model: m",
        "- model: m\n  scores: {a: 1}",
        "- {model: m, source: s, scores: {a: 55}}",
    ):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(AnalysisError):
            read_published(path)
    with pytest.raises(AnalysisError):
        read_published(tmp_path / "nowhere.yaml")


def test_wrong_requests(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="suite"):
        leaderboard(runs, "nothing")
    with pytest.raises(AnalysisError, match="nothing"):
        leaderboard(runs, tasks=["nothing"])
    with pytest.raises(AnalysisError, match="by run"):
        leaderboard(runs, by="moon")
    write_run(tmp_path, "m", [FakeTask("t", extra={"higher_is_better": False})])
    with pytest.raises(AnalysisError, match="lower is better"):
        leaderboard(load_runs(tmp_path))


def test_some_tasks_only(runs: Runs) -> None:
    board = leaderboard(runs, tasks=["cmexam", "kuake_ir"])
    assert board.suite == "tasks"
    assert board.tasks == {"cmexam": 0.5, "kuake_ir": 0.5}
