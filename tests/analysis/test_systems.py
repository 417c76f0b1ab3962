"""Which run speaks for a model: never a smoke test for an evaluation, never a mixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medbench.analysis import compare, leaderboard, load_runs, systems
from medbench.analysis.task_scores import task_scores
from medbench.errors import AnalysisError
from medbench.reports import render_report
from tests.analysis.factory import FakeTask, write_run

FULL: dict[str, Any] = {
    "chat_template": True,
    "system_prompt": "",
    "dtype": "float32",
    "num_fewshot": None,
    "limit": None,
    "shuffle_options": None,
    "circular": False,
    "seed": 1234,
    "engine": "native",
}


def _write(
    tmp_path: Path, model: str, day: int, tasks: list[FakeTask], groups: bool = True, **settings: Any
) -> None:
    names = [task.name for task in tasks]
    write_run(
        tmp_path,
        model,
        tasks,
        run=f"202601{day:02}-000000-r",
        seed=10 * day + len(model),
        groups={"suite": names} if groups else None,
        manifest={"settings": {**FULL, **settings}, "started": f"2026-01-{day:02}T00:00:00+00:00"},
    )


def _tasks(n: int = 60, skill: float = 0.9, source: str = "folder", shots: int = 0) -> list[FakeTask]:
    extra = {"num_fewshot": shots}
    return [
        FakeTask(name, n=n, skill=skill, data_source=source, extra=extra, prompt="{i} {name}" + "x" * shots)
        for name in ("a", "b")
    ]


#: Later runs of the same model that are no repetition of its evaluation, and how they are then called.
PROBES: list[tuple[list[FakeTask], dict[str, Any], str]] = [
    (_tasks(2, 0.1), {"limit": 2}, "limit 2"),
    (_tasks(59, 0.1), {"limit": 59}, "limit 59"),
    (_tasks(30, 0.1), {"limit": 0.5}, "first 50% of each task"),
    (_tasks(60, 0.1), {"chat_template": False}, "chat template off"),
    (_tasks(60, 0.1, shots=3), {"num_fewshot": 3}, "3-shot"),
    (_tasks(3, 0.1, shots=3), {"num_fewshot": 3, "limit": 3}, "3-shot, limit 3"),
    (_tasks(12, 0.1, "samples"), {}, "source samples"),
    (_tasks(60, 0.1, "hub"), {}, "source hub"),
    (_tasks(60, 0.1), {"system_prompt": "Guess."}, "system prompt “Guess.”"),
    (_tasks(60, 0.1), {"dtype": "bfloat16"}, "bfloat16"),
    (_tasks(60, 0.1), {"quantization": "nf4"}, "nf4"),
    (_tasks(60, 0.1), {"shuffle_options": 7}, "options shuffled (seed 7)"),
    (_tasks(60, 0.1), {"circular": True}, "circular"),
    (_tasks(60, 0.1), {"engine": "reference"}, "engine reference"),
]
IDS = [row[2] for row in PROBES]


@pytest.mark.parametrize(("tasks", "settings", "called"), PROBES, ids=IDS)
@pytest.mark.parametrize("groups", [True, False])
def test_a_run_under_other_conditions_changes_no_score(
    tmp_path: Path, tasks: list[FakeTask], settings: dict[str, Any], called: str, groups: bool
) -> None:
    _write(tmp_path, "m", 1, _tasks(), groups)
    _write(tmp_path, "base", 1, _tasks(skill=0.5), groups)
    before = load_runs(tmp_path)
    rows = leaderboard(before, draws=50).ranking.set_index("model")
    differences = compare(before, "base", draws=50)
    _write(tmp_path, "m", 2, tasks, groups, **settings)
    after = load_runs(tmp_path)
    assert [system.name for system in systems(after)] == ["base", "m", f"m · {called}"]
    again = leaderboard(after, draws=50).ranking.set_index("model")
    columns = ["rank", "rank_low", "rank_high", "value", "low", "high", "n", "run", "conditions", "apart"]
    pd.testing.assert_frame_equal(again.loc[["m", "base"], columns], rows.loc[["m", "base"], columns])
    probe = again.to_dict("index")[f"m · {called}"]
    assert probe["run"] == "20260102-000000-r"
    assert probe["n"] == sum(task.n for task in tasks)
    assert probe["value"] < 0.6
    assert pd.isna(probe["rank"])
    assert probe["apart"]
    pd.testing.assert_frame_equal(compare(after, "base", draws=50), differences)


@pytest.mark.parametrize(("tasks", "settings", "called"), PROBES, ids=IDS)
def test_the_plain_name_goes_to_the_largest_evaluation_whenever_it_was_made(
    tmp_path: Path, tasks: list[FakeTask], settings: dict[str, Any], called: str
) -> None:
    _write(tmp_path, "m", 1, tasks, **settings)
    _write(tmp_path, "m", 2, _tasks(70))
    found = systems(load_runs(tmp_path))
    assert [system.name for system in found] == ["m", f"m · {called}"]
    assert {run.run for run in found[0].runs.values()} == {"20260102-000000-r"}
    assert [system.usual for system in found] == [True, False]


@pytest.mark.parametrize(("tasks", "settings", "called"), PROBES, ids=IDS)
def test_runs_under_other_conditions_are_not_joined(
    tmp_path: Path, tasks: list[FakeTask], settings: dict[str, Any], called: str
) -> None:
    _write(tmp_path, "m", 1, _tasks()[:1], groups=False)
    _write(tmp_path, "m", 2, tasks[1:], groups=False, **settings)
    assert [list(system.runs) for system in systems(load_runs(tmp_path))] in ([["a"], ["b"]], [["b"], ["a"]])
    ranking = leaderboard(load_runs(tmp_path), tasks=["a", "b"], draws=50).ranking
    assert ranking["value"].isna().all()


def test_tasks_of_several_runs_under_the_same_conditions_are_joined(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, _tasks()[:1], groups=False)
    _write(tmp_path, "m", 2, _tasks()[1:], groups=False, max_batch_tokens=99, device="cuda")
    _write(tmp_path, "base", 1, _tasks(skill=0.5))
    board = leaderboard(load_runs(tmp_path), draws=50)
    row = board.ranking.set_index("model").to_dict("index")["m"]
    assert row["run"] == "20260101-000000-r, 20260102-000000-r"
    assert (row["rank"], row["n"], row["missing"]) == (1, 120, [])


def test_of_equal_runs_the_newest_speaks_and_of_others_the_largest(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, _tasks(skill=0.2))
    _write(tmp_path, "m", 3, _tasks(skill=0.9))
    _write(tmp_path, "m", 2, _tasks(skill=0.2))
    system = systems(load_runs(tmp_path))[0]
    assert {run.run for run in system.runs.values()} == {"20260103-000000-r"}
    assert system.scores["value"].to_dict()["suite"] > 0.7
    # The data grew smaller afterwards: the same settings, fewer documents.
    _write(tmp_path, "m", 4, _tasks(n=30))
    assert {run.run for run in systems(load_runs(tmp_path))[0].runs.values()} == {"20260103-000000-r"}


def test_a_group_that_several_runs_answer_is_averaged_anew(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, _tasks(skill=0.2))
    _write(tmp_path, "m", 2, _tasks(skill=0.95)[:1], groups=False)
    loaded = load_runs(tmp_path)
    scores = systems(loaded)[0].scores.to_dict("index")
    suite = scores["suite"]
    assert scores["a"]["value"] > 0.7 > 0.5 > scores["b"]["value"]
    assert suite["value"] == pytest.approx((scores["a"]["value"] + scores["b"]["value"]) / 2)
    assert suite["low"] < suite["value"] < suite["high"]
    assert leaderboard(loaded, draws=50).ranking["value"].tolist() == pytest.approx([suite["value"]])


def test_a_question_asked_in_rotations_counts_once(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, _tasks(n=60, skill=0.9))
    # Four rotations of each of 60 questions.
    rotated = [FakeTask(name, n=240, skill=0.1) for name in ("a", "b")]
    _write(tmp_path, "m", 2, rotated, circular=True)
    folder = tmp_path / "m" / "20260102-000000-r" / "scores.parquet"
    frame = pd.read_parquet(folder)
    circular = frame[frame["kind"] == "task"].assign(metric="acc_circular", main=False, n=60)
    pd.concat([frame, circular]).to_parquet(folder)
    assert [system.name for system in systems(load_runs(tmp_path))] == ["m", "m · circular"]


def test_data_of_the_tasks_own_stand_beside_any_source(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, _tasks()[:1], groups=False)
    _write(tmp_path, "m", 2, _tasks(source="task")[1:], groups=False)
    found = systems(load_runs(tmp_path))
    assert [list(system.runs) for system in found] == [["a", "b"]]
    assert found[0].conditions.sources == ("folder", "task")


def test_a_run_of_several_sources_is_joined_with_none(tmp_path: Path) -> None:
    mixed = [*_tasks()[:1], *_tasks(source="samples")[1:]]
    _write(tmp_path, "m", 1, mixed)
    _write(tmp_path, "m", 2, mixed[::-1], groups=False)
    assert len(systems(load_runs(tmp_path))) == 2


def test_runs_are_told_apart_when_asked(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, _tasks())
    _write(tmp_path, "m", 2, _tasks(), limit=60)
    _write(tmp_path, "m", 3, _tasks(skill=0.5))
    loaded = load_runs(tmp_path)
    assert [system.name for system in systems(loaded, by="run")] == [
        f"m/2026010{i}-000000-r" for i in (1, 2, 3)
    ]
    ranking = leaderboard(loaded, by="run", draws=50).ranking.set_index("model")
    assert ranking["rank"].dropna().to_dict() == {"m/20260101-000000-r": 1, "m/20260103-000000-r": 2}
    assert "all documents" in ranking["apart"].to_dict()["m/20260102-000000-r"]
    with pytest.raises(AnalysisError, match="by run"):
        systems(loaded, by="moon")


def test_a_results_folder_with_groups_only_has_no_task(tmp_path: Path) -> None:
    _write(tmp_path, "m", 1, _tasks())
    path = tmp_path / "m" / "20260101-000000-r" / "scores.parquet"
    frame = pd.read_parquet(path)
    frame[frame["kind"] == "group"].to_parquet(path)
    assert systems(load_runs(tmp_path))[0].runs == {}


@pytest.mark.parametrize("members", [["suite"], ["other"], None, []])
def test_a_group_that_makes_no_sense_is_shown_and_not_ranked_over(tmp_path: Path, members: Any) -> None:
    _write(tmp_path, "m", 1, _tasks())
    path = tmp_path / "m" / "20260101-000000-r" / "scores.parquet"
    table = pq.read_table(path)
    rows = [row | {"members": members} if row["kind"] == "group" else row for row in table.to_pylist()]
    # A group that contains itself by way of another.
    rows += [row | {"task": "other", "members": ["suite"]} for row in rows if row["kind"] == "group"]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    loaded = load_runs(tmp_path)
    system = systems(loaded)[0]
    assert "suite" in system.scores.index
    assert "suite" not in system.groups
    assert leaderboard(loaded, draws=50).suite == "tasks"
    assert "suite" in set(task_scores(loaded)["task"])
    assert "<section" in render_report(loaded)
