"""Rankings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medbench.analysis import Published, Runs, leaderboard, load_runs, read_published
from medbench.errors import AnalysisError
from medbench.reports.score_tables import leaderboard_table
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


SIZES = {"a": 40, "b": 10, "c": 25}
OWN = {"suite": ["a", "b", "c"]}


def _sized(sizes: dict[str, int], skill: float, **extra: Any) -> list[FakeTask]:
    return [FakeTask(name, n=n, skill=skill, **extra) for name, n in sizes.items()]


#: Runs of another model: tasks, groups, whether groups count documents, settings.
OTHERS: list[tuple[str, list[FakeTask], dict[str, list[str]] | None, bool, dict[str, Any]]] = [
    ("the same", _sized(SIZES, 0.6), OWN, True, {}),
    ("a limit", _sized(dict.fromkeys(SIZES, 2), 0.6), OWN, True, {"limit": 2}),
    ("other numbers of documents", _sized({"a": 5, "b": 90, "c": 25}, 0.6), OWN, True, {}),
    ("equal weights", _sized(SIZES, 0.6), OWN, False, {}),
    ("a smaller group", _sized({"a": 40, "b": 10}, 0.6), {"suite": ["a", "b"]}, True, {}),
    ("a larger group", _sized({**SIZES, "d": 99}, 0.6), {"suite": ["a", "b", "c", "d"]}, True, {}),
    ("other tasks", _sized({"x": 30}, 0.6), {"suite": ["x"]}, True, {}),
    ("no group", _sized(SIZES, 0.6), None, True, {}),
    ("one task", _sized({"b": 10}, 0.6), None, True, {}),
    ("samples", _sized(SIZES, 0.6, data_source="samples"), OWN, True, {}),
    ("another language", _sized(SIZES, 0.6, language="de", family="other"), OWN, True, {}),
    ("lower is better", _sized(SIZES, 0.6, extra={"higher_is_better": False}), OWN, True, {}),
    ("another metric", _sized(SIZES, 0.6, extra={"metric": "acc_norm"}), OWN, True, {}),
    ("more examples", _sized(SIZES, 0.6, extra={"num_fewshot": 5}), OWN, True, {"num_fewshot": 5}),
    ("labels", [FakeTask(name, "labels", n, 0.6) for name, n in SIZES.items()], OWN, True, {}),
]


@pytest.mark.parametrize("position", ["aa", "zz"])
@pytest.mark.parametrize(
    ("name", "tasks", "groups", "weighted", "settings"), OTHERS, ids=[row[0] for row in OTHERS]
)
def test_no_run_of_another_model_changes_a_score(
    tmp_path: Path,
    name: str,
    tasks: list[FakeTask],
    groups: dict[str, list[str]] | None,
    weighted: bool,
    settings: dict[str, Any],
    position: str,
) -> None:
    write_run(tmp_path, "m", _sized(SIZES, 0.7), seed=1, groups=OWN, weighted=True)
    alone = leaderboard(load_runs(tmp_path), "suite", draws=50).ranking
    own = load_runs(tmp_path).scores().set_index("task")["value"].to_dict()
    expected = sum(own[task] * n for task, n in SIZES.items()) / sum(SIZES.values())
    assert [own["suite"], *alone["value"]] == pytest.approx([expected, expected])
    manifest = {"settings": settings}
    write_run(tmp_path, position, tasks, seed=2, groups=groups, weighted=weighted, manifest=manifest)
    both = leaderboard(load_runs(tmp_path), "suite", draws=50).ranking
    kept = alone.columns.difference(["model", "rank", "rank_low", "rank_high", "comparable", "apart"])
    one, two = alone.set_index("model"), both.set_index("model")
    pd.testing.assert_frame_equal(two.loc[["m"], kept], one[kept], check_dtype=False)
    # The two are ranked together only if both may be.
    ranked = both["rank"].notna().sum()
    assert ranked == (2 if name in ("the same", "equal weights", "no group", "another language") else 1)
    assert both.loc[both["rank"].isna() & both["missing"].map(len).eq(0), "apart"].ne("").all()


def test_the_conditions_that_most_models_share_make_the_ranking(tmp_path: Path) -> None:
    write_run(tmp_path, "a", _sized(SIZES, 0.9), groups=OWN)
    for seed, model in enumerate("abc"):
        small = _sized(dict.fromkeys(SIZES, 2), 0.5)
        write_run(
            tmp_path, model, small, run="small", seed=seed, groups=OWN, manifest={"settings": {"limit": 2}}
        )
    board = leaderboard(load_runs(tmp_path), draws=50)
    ranking = board.ranking.set_index("model")
    assert set(ranking.index[ranking["rank"].notna()]) == {"a · limit 2", "b", "c"}
    assert "limit 2" in board.conditions
    assert ranking["n"].to_dict()["a"] == sum(SIZES.values())
    assert ranking["apart"].to_dict()["a"] == "all documents against limit 2"
    assert list(ranking["apart"] == "") == [True, True, True, False]


def test_other_documents_of_the_same_number_are_not_ranked_together(tmp_path: Path) -> None:
    for model in "ab":
        folder = write_run(tmp_path, model, _sized(SIZES, 0.7), groups=OWN)
    path = folder / "samples.parquet"
    table = pq.read_table(path)
    hashes = pa.array([f"{text}!" for text in table["doc_hash"].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index("doc_hash"), "doc_hash", hashes), path)
    ranking = leaderboard(load_runs(tmp_path), draws=50).ranking.set_index("model")
    assert ranking["apart"].to_dict()["b"] == "other documents in a, b, c"
    assert ranking["rank"].notna().sum() == 1


def test_scores_without_documents_stand_apart(tmp_path: Path) -> None:
    for seed, model in enumerate("ab"):
        write_run(tmp_path, model, [FakeTask("t", n=40)], seed=seed)
    results = {"t": {"acc,none": 0.99, "acc_stderr,none": 0.01, "sample_len": 40}}
    content = {"results": results, "model_name": "c", "versions": {"t": 1.0}, "n-shot": {"t": 0}}
    (tmp_path / "results_x.json").write_text(json.dumps(content), encoding="utf-8")
    ranking = leaderboard(load_runs(tmp_path), draws=50).ranking.set_index("model")
    assert ranking["rank"].notna().to_dict() == {"a": True, "b": True, "c": False}
    assert ranking["apart"].to_dict()["c"] == "results by document are missing"
    assert ranking["value"].to_dict()["c"] == 0.99


def test_scores_without_any_documents_have_no_rank(tmp_path: Path) -> None:
    content = {"results": {"t": {"acc,none": 0.9}}, "model_name": "c"}
    (tmp_path / "results_x.json").write_text(json.dumps(content), encoding="utf-8")
    assert leaderboard(load_runs(tmp_path)).ranking["rank"].isna().all()


def test_tasks_of_a_group_may_be_named_by_it(runs: Runs) -> None:
    assert leaderboard(runs, tasks=["suite"], draws=50).tasks == dict.fromkeys(NAMES, 0.25)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"suite": "suit"}, "did you mean suite?"),
        ({"suite": "cmexam"}, "there are suite"),
        ({"tasks": ["cmexm"]}, "did you mean cmexam?"),
        ({"tasks": ["medqa_us", "zzz"]}, "there are suite, cmexam"),
        ({"tasks": []}, "leave the choice"),
        ({"tasks": [""]}, "leave the choice"),
    ],
)
def test_unknown_names_are_errors_with_suggestions(runs: Runs, arguments: dict[str, Any], hint: str) -> None:
    with pytest.raises(AnalysisError, match=hint.replace("?", r"\?")):
        leaderboard(runs, **arguments)


def test_a_failed_task_is_missing_from_the_average(tmp_path: Path) -> None:
    write_run(tmp_path, "m", [FakeTask("t")], manifest={"failures": {"u": "no data"}})
    ranking = leaderboard(load_runs(tmp_path)).ranking
    assert ranking["missing"].tolist() == [["u"]]
    assert ranking["value"].isna().all()


def test_a_metric_of_unknown_noise_costs_the_range_and_not_the_ranking(tmp_path: Path) -> None:
    for seed, model in enumerate("ab"):
        tasks = [FakeTask("t", skill=0.9 - seed / 2), FakeTask("u", extra={"aggregation": "own_median"})]
        write_run(tmp_path, model, tasks, seed=seed)
    board = leaderboard(load_runs(tmp_path))
    assert board.ranking["rank"].tolist() == [1, 2]
    assert board.ranking[["rank_low", "rank_high"]].isna().all(axis=None)
    table = leaderboard_table(board)
    assert [row[0] for row in table.rows] == ["1", "2"]
    assert any("not known" in note for note in table.notes)
