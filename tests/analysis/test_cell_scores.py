"""Scores of systems by annotation: which run answers, which is best, and what groups make of cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medbench.analysis import cell_scores, load_runs
from medbench.errors import AnalysisError
from tests.analysis.factory import FakeTask, write_run
from tests.truth import plain

LEVEL = "annotation.level"
SAID = ("1", "1", "1", "2")


def _task(name: str, n: int, right: int, said: tuple[str | None, ...] = SAID, **more: Any) -> FakeTask:
    """A task of which the first so many documents are right."""
    verdicts = tuple(i < right for i in range(n))
    return FakeTask(name, n=n, verdicts=verdicts, said={LEVEL: said} if said else {}, **more)


def _found(frame: pd.DataFrame, column: str = "value") -> dict[tuple[str, str, str | None], Any]:
    texts = frame["cell"].astype(object).where(frame["cell"].notna(), None)
    keys = zip(frame["task"], frame["kind"], texts, strict=True)
    return dict(zip(keys, frame[column], strict=True))


@pytest.mark.parametrize("sizes", [(40, 8), (8, 40), (20, 20), (4, 100), (12, 16)])
@pytest.mark.parametrize("said", [(SAID, SAID), (SAID, ("2", None)), (SAID, ()), (("1",), ("2",))])
def test_a_group_that_weighs_by_documents_weighs_its_cells_so(
    tmp_path: Path, sizes: tuple[int, int], said: tuple[tuple[str | None, ...], tuple[str | None, ...]]
) -> None:
    tasks = [_task("one", sizes[0], sizes[0] // 2, said[0]), _task("two", sizes[1], sizes[1] // 3, said[1])]
    write_run(tmp_path, "m", tasks, groups={"exam": ["one", "two"]}, weighted=True)
    runs = load_runs(tmp_path)
    frame = cell_scores(runs, "level")
    samples = runs.samples()
    told = samples[LEVEL].astype(object).where(samples[LEVEL].notna(), None)
    group = frame[frame["task"] == "exam"]
    expected = {cell: samples["score"][(told == cell).to_numpy()] for cell in sorted(set(told) - {None})}
    cells = group[group["kind"] == "cell"].set_index("cell")
    assert cells["value"].to_dict() == pytest.approx({cell: float(v.mean()) for cell, v in expected.items()})
    assert cells["n"].to_dict() == {cell: len(values) for cell, values in expected.items()}
    rest = samples["score"][told.isna().to_numpy()]
    assert (group["kind"] == "rest").any() == bool(len(rest))
    if len(rest):
        [row] = group[group["kind"] == "rest"].to_dict("records")
        assert (row["value"], row["n"]) == (pytest.approx(float(rest.mean())), len(rest))
    [whole] = group[group["kind"] == "group"].to_dict("records")
    assert whole["value"] == pytest.approx(float(samples["score"].mean()))
    assert whole["n"] == sum(sizes)


def test_the_interval_of_a_groups_cell_carries_those_of_its_tasks(tmp_path: Path) -> None:
    tasks = [_task("one", 40, 25), _task("two", 24, 7)]
    write_run(tmp_path, "m", tasks, groups={"exam": ["one", "two"]}, weighted=True)
    frame = cell_scores(load_runs(tmp_path), "level")
    for cell, sizes in (("1", (30, 18)), ("2", (10, 6))):
        parts = [frame[(frame["task"] == task) & (frame["cell"] == cell)].iloc[0] for task in ("one", "two")]
        limits = [plain.wilson(part["value"], part["n"]) for part in parts]
        middle, low, high = plain.mover(
            [size / sum(sizes) for size in sizes],
            [part["value"] for part in parts],
            [limit[0] for limit in limits],
            [limit[1] for limit in limits],
        )
        row = frame[(frame["task"] == "exam") & (frame["cell"] == cell)].iloc[0]
        assert [row["value"], row["low"], row["high"]] == pytest.approx([middle, low.least, high.least])
        assert row["interval"] == "mover"


def test_a_group_of_equals_has_no_cells(tmp_path: Path) -> None:
    write_run(tmp_path, "m", [_task("one", 40, 20), _task("two", 8, 2)], groups={"suite": ["one", "two"]})
    assert "suite" not in set(cell_scores(load_runs(tmp_path), "level")["task"])


@pytest.mark.parametrize("broken", ["one", "two"])
def test_a_group_says_which_task_keeps_it_from_cells(tmp_path: Path, broken: str) -> None:
    extra = {name: {"aggregation": "custom:mine"} if name == broken else {} for name in ("one", "two")}
    tasks = [_task(name, 20, 10, extra=extra[name]) for name in ("one", "two")]
    write_run(tmp_path, "m", tasks, groups={"exam": ["one", "two"]}, weighted=True)
    frame = cell_scores(load_runs(tmp_path), "level")
    [row] = frame[frame["task"] == "exam"].to_dict("records")
    assert row["kind"] == "group"
    assert row["reason"] == f"no cells of {broken}: no score of a cell is known for custom:mine"


@pytest.mark.parametrize(
    ("right", "better"),
    [
        ((20, 10), {"1": "a", "2": "a", None: "a"}),
        ((10, 20), {"1": "b", "2": "b", None: "b"}),
        ((0, 40), {"1": "b", "2": "b", None: "b"}),
        ((3, 4), {"1": "ab", "2": "b", None: "b"}),
        ((12, 12), {"1": "ab", "2": "ab", None: "ab"}),
        ((0, 0), {"1": "ab", "2": "ab", None: "ab"}),
    ],
)
def test_the_best_of_each_cell(tmp_path: Path, right: tuple[int, int], better: dict[str | None, str]) -> None:
    for model, number in zip("ab", right, strict=True):
        write_run(tmp_path, model, [_task("t", 40, number)])
    frame = cell_scores(load_runs(tmp_path), "level")
    best = frame[frame["best"]]
    found: dict[str | None, str] = {}
    for model, cell in zip(best["model"], best["cell"], strict=True):
        key = None if pd.isna(cell) else cell
        found[key] = found.get(key, "") + model
    assert found == better


def test_cells_of_one_size_are_no_rivals_of_each_other(tmp_path: Path) -> None:
    said = {LEVEL: ("1", "2")}
    write_run(tmp_path, "a", [FakeTask("t", n=20, verdicts=(True, True, False, True) * 5, said=said)])
    write_run(tmp_path, "b", [FakeTask("t", n=20, verdicts=(False, True, False, False) * 5, said=said)])
    frame = cell_scores(load_runs(tmp_path), "level")
    best = frame[frame["best"] & (frame["kind"] == "cell")]
    assert best[["cell", "model"]].to_numpy().tolist() == [["1", "a"], ["2", "a"]]


def test_a_limited_run_is_no_rival_in_any_cell(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [_task("t", 40, 20)])
    write_run(tmp_path, "b", [_task("t", 40, 10)])
    write_run(tmp_path, "b", [_task("t", 4, 4)], run="20260201-0", manifest={"settings": {"limit": 4}})
    frame = cell_scores(load_runs(tmp_path), "level")
    assert set(frame.loc[frame["best"], "model"]) == {"a"}
    limited = frame[frame["model"] == "b · limit 4"]
    assert _found(limited, "n") == {("t", "cell", "1"): 3, ("t", "cell", "2"): 1, ("t", "task", None): 4}


def test_the_run_that_answers_for_a_task_answers_for_its_cells(tmp_path: Path) -> None:
    write_run(tmp_path, "m", [_task("t", 40, 40), _task("u", 20, 5)], run="20260101-0")
    write_run(tmp_path, "m", [_task("t", 40, 0)], run="20260102-0")
    runs = load_runs(tmp_path)
    frame = cell_scores(runs, "level")
    assert set(frame.loc[frame["task"] == "t", "value"]) == {0.0}
    assert _found(frame, "run")["t", "cell", "1"] == "20260102-0"
    assert _found(frame, "run")["u", "cell", "1"] == "20260101-0"
    assert set(cell_scores(runs, "level", by="run")["model"]) == {"m/20260101-0", "m/20260102-0"}


@pytest.mark.parametrize(
    ("names", "tasks"),
    [
        (["one"], ["one"]),
        (["two", "one"], ["one", "two"]),
        (["exam"], ["exam", "one", "two"]),
        (["exam", "three"], ["exam", "one", "two", "three"]),
        (["three"], ["three"]),
        (None, ["exam", "one", "two", "three"]),
    ],
)
def test_only_some_tasks(tmp_path: Path, names: list[str] | None, tasks: list[str]) -> None:
    made = [_task(name, 20, 10) for name in ("one", "two", "three")]
    write_run(tmp_path, "m", made, groups={"exam": ["one", "two"]}, weighted=True)
    frame = cell_scores(load_runs(tmp_path), "level", tasks=names)
    assert list(dict.fromkeys(frame["task"])) == tasks


@pytest.mark.parametrize(
    ("annotation", "tasks", "match"),
    [
        ("levl", None, "no annotation 'levl'"),
        ("level", ["nope"], "nope"),
        ("level", ["plain"], "no task has scores by 'level'"),
        ("model", None, "no annotation 'model'"),
    ],
)
def test_wrong_requests(tmp_path: Path, annotation: str, tasks: list[str] | None, match: str) -> None:
    write_run(tmp_path, "m", [_task("t", 20, 10), _task("plain", 20, 10, ())])
    with pytest.raises(AnalysisError, match=match):
        cell_scores(load_runs(tmp_path), annotation, tasks=tasks)


def test_cells_of_all_systems_stand_in_one_order(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [_task("t", 40, 20, ("10", "9"))])
    write_run(tmp_path, "b", [_task("t", 40, 20, ("2", "9", None))])
    frame = cell_scores(load_runs(tmp_path), "level")
    rows = [(row["kind"], row["cell"], row["model"]) for row in frame.to_dict("records")]
    assert [(kind, cell, model) for kind, cell, model in rows if kind == "cell"] == [
        ("cell", "2", "b"),
        ("cell", "9", "a"),
        ("cell", "9", "b"),
        ("cell", "10", "a"),
    ]
    assert [(kind, model) for kind, _, model in rows[4:]] == [("rest", "b"), ("task", "a"), ("task", "b")]
