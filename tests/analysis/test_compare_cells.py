"""Comparisons by annotation, held to comparisons of the documents of each cell alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from medbench.analysis import Runs, compare, load_runs
from medbench.analysis.compare_cells import compare_cells
from medbench.errors import AnalysisError
from tests.analysis.factory import FakeTask, write_run
from tests.truth import plain

LEVEL = "annotation.level"
FIGURES = ["n", "score", "baseline_score", "difference", "wins", "losses"]
Said = Sequence[str | None]


def _pair(folder: Path, *tasks: FakeTask, skills: tuple[float, float] = (0.7, 0.4), seed: int = 0) -> Runs:
    for number, (model, skill) in enumerate(zip(("base", "mine"), skills, strict=True)):
        made = [FakeTask(**{**vars(task), "skill": skill}) for task in tasks]
        write_run(folder, model, made, seed=10 * seed + number)
    return load_runs(folder)


def _right(runs: Runs, model: str, task: str) -> pd.DataFrame:
    samples = runs.samples(tasks=[task])
    mine = samples[samples["model"] == model].set_index("document")
    return mine.assign(cell=mine[LEVEL].astype(object).where(mine[LEVEL].notna(), None))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "said",
    [("1", "2"), ("1", None, "3", ""), ("a", "a", "a", "b"), tuple("abcdefgh"), ("题型一", None, "题型二")],
)
def test_right_and_wrong_by_cell(tmp_path: Path, said: Said, seed: int) -> None:
    runs = _pair(tmp_path, FakeTask("t", n=48, said={LEVEL: said}), seed=seed)
    frame = compare_cells(runs, "base", "level", draws=200)
    mine, base = (_right(runs, model, "t") for model in ("mine", "base"))
    cells = frame[frame["kind"] == "cell"]
    assert cells["cell"].tolist() == [cell for cell in dict.fromkeys(said) if cell]
    exact = []
    for row in cells.to_dict("records"):
        names = mine.index[mine["cell"] == row["cell"]]
        one, two = mine.loc[names, "score"], base.loc[names, "score"]
        wins, losses = int((one > two).sum()), int((one < two).sum())
        assert [row[name] for name in FIGURES] == pytest.approx(
            [len(names), one.mean(), two.mean(), one.mean() - two.mean(), wins, losses]
        )
        p = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert row["p_value"] == pytest.approx(p)
        assert row["test"] == "mcnemar-exact"
        exact.append(row["p_value"])
    adjusted = _holm(exact)
    assert cells["p_adjusted"].tolist() == pytest.approx(adjusted)
    for row, p in zip(cells.to_dict("records"), adjusted, strict=True):
        expected = "undecided" if p > 0.05 else "better" if row["difference"] > 0 else "worse"
        assert row["verdict"] == expected
    [whole] = frame[frame["kind"] == "task"].to_dict("records")
    assert whole["unannotated"] == sum(not said[i % len(said)] for i in range(48))
    assert whole["n"] == 48


def _holm(p_values: Sequence[float]) -> list[float]:
    """Every set of hypotheses is tested by Bonferroni, and each p is the largest of those it is in."""
    if len(p_values) > 8:
        order = np.argsort(p_values, kind="stable")
        found, worst = [0.0] * len(p_values), 0.0
        for place, index in enumerate(order):
            worst = max(worst, min(1.0, (len(p_values) - place) * p_values[index]))
            found[index] = worst
        return found
    places = range(len(p_values))
    subsets = [s for size in range(1, len(p_values) + 1) for s in itertools.combinations(places, size)]
    tested = {s: min(1.0, len(s) * min(p_values[i] for i in s)) for s in subsets}
    return [max(p for s, p in tested.items() if i in s) for i in places]


@pytest.mark.parametrize("clusters", [None, 7])
@pytest.mark.parametrize("kind", ["choice", "extraction", "labels"])
@pytest.mark.parametrize("said", [("1", "2"), ("x", None, "y", "z")])
def test_a_cell_is_compared_as_a_task_of_its_documents(
    tmp_path: Path, said: Said, kind: str, clusters: int | None
) -> None:
    task = FakeTask("t", kind, 36, clusters=clusters, said={LEVEL: said})
    runs = _pair(tmp_path / "all", task)
    frame = compare_cells(runs, "base", "level", draws=400)
    aggregation = {"choice": "mean", "extraction": "micro_f1", "labels": "macro_f1"}[kind]
    column = {"choice": "metric.acc", "extraction": "counts.f1", "labels": "labels.macro_f1"}[kind]
    for cell in [text for text in said if text]:
        for model in ("base", "mine"):
            [run] = runs.select(model=model).runs
            _only(run.path, tmp_path / cell / model, cell, column, aggregation)
        [alone] = compare(load_runs(tmp_path / cell), "base", draws=400).to_dict("records")
        [row] = frame[frame["cell"] == cell].to_dict("records")
        for name in (*FIGURES, "low", "high", "interval", "p_value", "test", "detectable"):
            assert row[name] == pytest.approx(alone[name], nan_ok=True), name


def _only(run: Path, target: Path, cell: str, column: str, aggregation: str) -> None:
    """A copy of a run as if the task had only the documents of a cell."""
    folder = target / run.name
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes((run / "run.json").read_bytes())
    samples = pq.read_table(run / "samples.parquet")
    samples = samples.filter(pa.compute.equal(samples.column(LEVEL), cell))
    values = samples.column(column).to_pylist()
    scores = pq.read_table(run / "scores.parquet").to_pylist()
    made = float(plain.corpus(values, aggregation))
    scores = [{**row, "value": made, "n": len(values)} for row in scores]
    pq.write_table(samples, folder / "samples.parquet")
    pq.write_table(
        pa.Table.from_pylist(scores, schema=pq.read_schema(run / "scores.parquet")), folder / "scores.parquet"
    )


@pytest.mark.parametrize("seed", range(10))
def test_holm_goes_over_the_cells_of_all_tasks(tmp_path: Path, seed: int) -> None:
    tasks = [
        FakeTask("ward", n=40, said={LEVEL: ("1", "2", "3")}),
        FakeTask("dose", n=30, said={LEVEL: ("2", None)}),
        FakeTask("plain", n=20),
    ]
    runs = _pair(tmp_path, *tasks, skills=(0.9, 0.4), seed=seed)
    frame = compare_cells(runs, "base", "level", draws=200)
    cells, wholes = frame[frame["kind"] == "cell"], frame[frame["kind"] == "task"]
    assert len(cells) == 4
    assert cells["p_adjusted"].tolist() == pytest.approx(_holm(cells["p_value"].tolist()))
    assert wholes["p_adjusted"].tolist() == pytest.approx(_holm(wholes["p_value"].tolist()))
    # The tasks themselves stand as they do without cells.
    usual = compare(runs, "base", draws=200)
    shared = [name for name in usual.columns if name in frame.columns]
    pd.testing.assert_frame_equal(
        wholes[shared].reset_index(drop=True), usual[shared].reset_index(drop=True), check_dtype=False
    )
    assert wholes.set_index("task")["unannotated"].to_dict() == {"ward": 0, "dose": 15, "plain": 20}
    # Each task stands before its cells.
    assert [list(part["kind"]) for _, part in frame.groupby("task", sort=False)] == [
        ["task", *["cell"] * (len(part) - 1)] for _, part in frame.groupby("task", sort=False)
    ]


def test_every_model_has_a_family_of_its_own(tmp_path: Path) -> None:
    task = FakeTask("t", n=40, said={LEVEL: ("1", "2", "3", "4")})
    runs = _pair(tmp_path, task)
    alone = compare_cells(runs, "base", "level", draws=200)
    write_run(tmp_path, "third", [FakeTask(**{**vars(task), "skill": 0.5})], seed=77)
    both = compare_cells(load_runs(tmp_path), "base", "level", draws=200)
    pd.testing.assert_frame_equal(both[both["model"] == "mine"].reset_index(drop=True), alone)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["choice", "extraction", "labels"])
def test_cells_of_a_few_documents_decide_nothing(tmp_path: Path, kind: str, size: int) -> None:
    """Even where one model wins every document: five swaps leave 2 of 32 arrangements as extreme."""
    for model, right in (("base", False), ("mine", True)):
        task = FakeTask("t", kind, 4 * size, verdicts=(right,) * (4 * size), said={LEVEL: tuple("abcd")})
        write_run(tmp_path, model, [task])
    frame = compare_cells(load_runs(tmp_path), "base", "level", draws=2_000)
    cells = frame[frame["kind"] == "cell"]
    assert (cells["n"] == size).all()
    assert set(cells["verdict"]) == {"undecided"}
    assert set(cells["unadjusted"]) == {"undecided"}
    assert (cells["p_value"] > 0.05).all()
    assert not (cells["low"] > 0).any()


def test_equal_models_are_seldom_told_apart_in_any_cell(tmp_path: Path) -> None:
    wrong = 0
    for seed in range(60):
        task = FakeTask("t", n=72, said={LEVEL: tuple("abcdef")})
        runs = _pair(tmp_path / str(seed), task, skills=(0.6, 0.6), seed=seed + 1)
        frame = compare_cells(runs, "base", "level", draws=100)
        wrong += int((frame.loc[frame["kind"] == "cell", "verdict"] != "undecided").any())
    # At most 5% of comparisons: 3 are expected, 8 or more have a chance below 2%.
    assert wrong < 8


def _annotate(folder: Path, model: str, said: Sequence[str | None] | None) -> None:
    [path] = (folder / model).glob("*/samples.parquet")
    table = pq.read_table(path).drop_columns([LEVEL])
    if said is not None:
        table = table.append_column(LEVEL, pa.array(list(said), pa.string()))
    pq.write_table(table, path)


@pytest.mark.parametrize("silent", ["base", "mine"])
@pytest.mark.parametrize("said", [None, (None,) * 20, ("1", None) * 10, (None, "2") * 10])
def test_one_side_may_say_what_the_other_does_not(tmp_path: Path, silent: str, said: Said | None) -> None:
    runs = _pair(tmp_path, FakeTask("t", n=20, said={LEVEL: ("1", "2")}))
    expected = compare_cells(runs, "base", "level", draws=200)
    _annotate(tmp_path, silent, said)
    found = compare_cells(load_runs(tmp_path), "base", "level", draws=200)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("changed", [1, 2, 10, 20])
@pytest.mark.parametrize("side", ["base", "mine"])
@pytest.mark.parametrize("intersect", [True, False])
def test_sides_that_contradict_each_other_are_refused(
    tmp_path: Path, side: str, changed: int, intersect: bool
) -> None:
    sound = FakeTask("sound", n=20, said={LEVEL: ("1", "2")})
    _pair(tmp_path, FakeTask("t", n=20, said={LEVEL: ("1", "2")}), sound)
    said = ["3" if i < changed else ("1", "2")[i % 2] for i in range(40)]
    _annotate(tmp_path, side, said)
    frame = compare_cells(load_runs(tmp_path), "base", "level", intersect=intersect, draws=200)
    refused = frame[frame["task"] == "t"]
    assert refused["verdict"].tolist() == ["refused"]
    assert f"{changed} documents are annotated otherwise" in refused["reason"].iloc[0]
    assert frame[frame["task"] == "sound"]["kind"].tolist() == ["task", "cell", "cell"]


def test_tasks_that_may_not_be_compared_have_no_cells(tmp_path: Path) -> None:
    write_run(
        tmp_path, "base", [FakeTask("t", said={LEVEL: ("1",)}), FakeTask("u", said={LEVEL: ("1", "2")})]
    )
    write_run(
        tmp_path,
        "mine",
        [
            FakeTask("t", said={LEVEL: ("1",)}, prompt="Other {i} {name}"),
            FakeTask("u", said={LEVEL: ("1", "2")}),
        ],
    )
    runs = load_runs(tmp_path)
    frame = compare_cells(runs, "base", "level", draws=200)
    assert frame[["task", "kind", "verdict"]].to_numpy().tolist()[-1] == ["t", "task", "refused"]
    assert "40 prompts differ" in frame["reason"].iloc[-1]
    assert (frame["task"] == "u").sum() == 3
    allowed = compare_cells(runs, "base", "level", ignore=["prompt"], draws=200)
    assert (allowed["kind"] == "cell").sum() == 3
    with pytest.raises(AnalysisError, match="nothing may be compared"):
        compare_cells(runs, "base", "level", tasks=["t"])


def test_documents_left_out_are_in_no_cell(tmp_path: Path) -> None:
    for model, size in (("base", 30), ("mine", 20)):
        write_run(tmp_path, model, [FakeTask("t", n=size, said={LEVEL: ("1", "2", None)})], seed=size)
    runs = load_runs(tmp_path)
    frame = compare_cells(runs, "base", "level", intersect=True, draws=200)
    assert frame["n"].tolist() == [20, 7, 7]
    assert frame["unannotated"].tolist() == [6, 0, 0]
    assert "10 documents only in" in frame["reason"].iloc[0]
    assert frame["reason"].tolist()[1:] == ["", ""]


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"annotation": "levl"}, "no annotation 'levl'"),
        ({"annotation": "task"}, "no annotation 'task'"),
        ({"annotation": "level", "baseline": "nobody"}, "nobody"),
        ({"annotation": "level", "tasks": ["nothing"]}, "nothing"),
        ({"annotation": "level", "ignore": ["document"]}, "'document' cannot be ignored"),
        ({"annotation": "level", "by": "moon"}, "by model or by run"),
        ({"annotation": "level", "tasks": ["plain"]}, "no document that was compared is annotated"),
    ],
)
def test_wrong_requests(tmp_path: Path, asked: dict[str, Any], match: str) -> None:
    runs = _pair(tmp_path, FakeTask("t", said={LEVEL: ("1", "2")}), FakeTask("plain"))
    with pytest.raises(AnalysisError, match=match):
        compare_cells(runs, **{"baseline": "base", **asked})


@pytest.mark.parametrize("seed", range(10))
def test_cells_share_out_wins_and_losses(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    said = [draw.choice(["", *"123456"]) for _ in range(draw.randrange(2, 50))] + ["1"]
    runs = _pair(tmp_path, FakeTask("t", n=len(said), said={LEVEL: said}), seed=seed)
    frame = compare_cells(runs, "base", "level", draws=100)
    whole, cells = frame.iloc[0], frame.iloc[1:]
    outside = sum(not text for text in said)
    assert whole["unannotated"] == outside
    assert cells["n"].sum() == len(said) - outside
    assert cells["wins"].sum() <= whole["wins"] <= cells["wins"].sum() + outside
    assert cells["losses"].sum() <= whole["losses"] <= cells["losses"].sum() + outside
    assert np.isfinite(cells["p_adjusted"].astype(float)).all()
