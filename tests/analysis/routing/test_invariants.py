"""Counts that cannot be sums over tokens are refused by name, before anything is computed of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medbench.analysis import load_runs
from medbench.analysis.routing.by_kind import regroup, specialization, task_groups
from medbench.analysis.routing.cells import cells
from medbench.analysis.routing.gains import shared_gains
from medbench.analysis.routing.summary import (
    coactivation,
    expert_load,
    load_difference,
    router_summary,
    task_similarity,
)
from medbench.analysis.routing.verdicts import loads_by_verdict, routing_by_verdict
from medbench.cli import main
from medbench.errors import AnalysisError
from medbench.reports import write_report
from medbench.reports.report import routing_sections
from tests.analysis.factory import FakeTask, write_routing, write_run

NAMES = ["a", "b", "c", "d"]


def _frame(documents: int = 3) -> pd.DataFrame:
    frame: pd.DataFrame = write_routing(NAMES, documents=documents, tokens=60, layers=2).to_pandas()
    return frame


def _set(column: str, value: Any, rows: Any = 5) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object if isinstance(value, (str, list)) or value is None else float})
        frame.at[rows, column] = value
        return frame

    return change


def _add(column: str, amount: float, rows: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(float)
        frame.loc[rows, column] += amount
        return frame

    return change


def _pairs(change: Callable[[np.ndarray[Any, Any]], Any]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def changed(frame: pd.DataFrame) -> pd.DataFrame:
        pairs = frame["coactive"].tolist()
        pairs[5] = change(np.array(pairs[5]))
        return frame.assign(coactive=pairs)

    return changed


# The cell of rows 4 to 7 is changed: document 1 of a, prompt, layer 0, gate.
DAMAGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "count one more": _add("count", 1, 5),
    "count above the tokens": _add("count", 30, 5),
    "count below none": _set("count", -1),
    "count of half a token": _add("count", 0.5, 5),
    "no count": _set("count", np.nan),
    "endless count": _set("count", np.inf),
    "count moved to another expert": lambda f: _add("count", -1, 5)(_add("count", 1, 4)(f)),
    "tokens of one row": _add("tokens", 1, 5),
    "tokens of the cell": _add("tokens", 1, [4, 5, 6, 7]),
    "twice the tokens": lambda f: _add("tokens", 20, [4, 5, 6, 7])(f),
    "no tokens": lambda f: f.assign(tokens=f["tokens"].where(~f.index.isin([4, 5, 6, 7]), 0)),
    "first choices": _add("top1", 1, 5),
    "first choice of an expert that was not chosen": lambda f: f.assign(
        top1=f["top1"].where(~f.index.isin([4, 5, 6, 7]), [20 if i == 5 else 0 for i in f.index])
    ),
    "gate weights": _add("mass", 2.0, 5),
    "gate weight below none": _set("mass", -0.1),
    "no gate weight": _set("mass", np.nan),
    "probabilities": _add("prob", 2.0, 5),
    "endless probability": _set("prob", np.inf),
    "entropy of one row": _add("entropy", 1.0, 5),
    "entropy above ln E": _add("entropy", 100.0, [4, 5, 6, 7]),
    "entropy below none": _add("entropy", -100.0, [4, 5, 6, 7]),
    "ties above the tokens": _add("near_ties", 21, [4, 5, 6, 7]),
    "ties of one row": _add("near_ties", 1, 5),
    "pairs not symmetric": _pairs(lambda p: p + np.eye(4)[0]),
    "pairs unlike the count": _pairs(lambda p: p + np.eye(4)[1]),
    "pairs of too few experts": _pairs(lambda p: p[:3]),
    "pairs of too many experts": _pairs(lambda p: [*p, 0]),
    "no pairs": _pairs(lambda p: None),
    "pairs that are no numbers": _pairs(lambda p: ["x"] * 4),
    "a row lost": lambda f: f.drop(index=5),
    "the last expert lost": lambda f: f[f["expert"] < 3],
    "a cell lost": lambda f: f.drop(index=[4, 5, 6, 7]),
    "a row twice": lambda f: pd.concat([f, f.loc[[5]]], ignore_index=True),
    "an expert beyond": _set("expert", 9),
    "an expert of another number": _set("expert", 2),
    "half an expert": _set("expert", 1.5),
    "no expert": _set("expert", np.nan),
    "no layer": _set("layer", np.nan),
    "a layer below none": _set("layer", -1),
    "no task": _set("task", None),
    "no phase": _set("phase", None),
    "text for a count": _set("count", "many"),
    "a column lost": lambda f: f.drop(columns="coactive"),
    "a cell of another k": lambda f: f.assign(
        count=f["count"].where(~f.index.isin([4, 5, 6, 7]), f["tokens"]),
        coactive=pd.Series(
            [[20] * 4 if 4 <= i <= 7 else pairs for i, pairs in enumerate(f["coactive"])], dtype=object
        ),
    ),
    "a total that is another": lambda f: pd.concat([f, f[f["document"] == 0].assign(document=-1)]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_is_refused_by_name(damage: str) -> None:
    frame = DAMAGES[damage](_frame()).assign(model="the model", run="the run")
    with pytest.raises(AnalysisError) as refused:
        cells(frame)
    assert refused.value.where is not None
    assert "the model/the run" in refused.value.where
    assert refused.value.hint


def test_the_cell_is_named() -> None:
    frame = DAMAGES["count one more"](_frame()).assign(model="m", run="r")
    with pytest.raises(AnalysisError) as refused:
        cells(frame)
    assert refused.value.where == "m/r: a, document 1, prompt, layer 0, gate"
    with pytest.raises(AnalysisError, match="m/r: a, prompt, layer 0, gate"):
        cells(_add("count", 1, 0)(_frame(0)).assign(model="m", run="r"))


FIGURES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "loads": expert_load,
    "loads of tasks": lambda frame: expert_load(frame, ["task"]),
    "summary": lambda frame: router_summary(frame, ["layer"], draws=5),
    "pairs": coactivation,
    "similarity": lambda frame: task_similarity(frame, draws=5),
    "difference": lambda frame: load_difference(frame, frame),
    "specialization": lambda frame: specialization(frame, draws=5),
    "kinds": lambda frame: specialization(regroup(frame, dict.fromkeys(NAMES, "kind")), draws=5),
}


@pytest.mark.parametrize("documents", [0, 3])
@pytest.mark.parametrize("figure", FIGURES)
def test_no_figure_is_made_of_damaged_counts(figure: str, documents: int) -> None:
    frame = _frame(documents).assign(model="m", run="r")
    FIGURES[figure](frame)
    with pytest.raises(AnalysisError, match="m/r"):
        FIGURES[figure](_add("count", 1, 5)(frame))


def _write(folder: Path, damage: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> Path:
    tasks = [FakeTask(name, skill=0.5) for name in NAMES]
    run = write_run(folder, "m", tasks, routing=write_routing(NAMES, documents=40, tokens=400, layers=1))
    if damage is not None:
        damage(pd.read_parquet(run / "routing.parquet")).to_parquet(run / "routing.parquet", index=False)
    return run


@pytest.mark.parametrize("damage", ["count one more", "a row twice", "the last expert lost", "not a file"])
def test_no_command_prints_damaged_counts(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _write(tmp_path, DAMAGES.get(damage))
    if damage == "not a file":
        (run / "routing.parquet").write_bytes(b"PAR1 nothing")
    page = tmp_path / "page.html"
    for command in ("show", "similarity", "kinds", "scores", "compare"):
        assert main(["routing", command, str(run), *([str(run)] if command == "compare" else [])]) == 2
        said = capsys.readouterr()
        assert not said.out
        assert said.err.startswith("medbench: ")
        assert "try: " in said.err
        assert run.name in said.err
    assert main(["routing", "show", str(run), "--html", str(page)]) == 2
    assert not page.exists()
    runs = load_runs(run)
    first = next(iter(runs))
    for figure in (routing_by_verdict, loads_by_verdict):
        with pytest.raises(AnalysisError):
            figure(runs)
    with pytest.raises(AnalysisError):
        shared_gains(first, first)
    with pytest.raises(AnalysisError):
        routing_sections(runs)


def test_rows_in_another_order_are_the_same_counts() -> None:
    frame = _frame().assign(model="m", run="r")
    shuffled = frame.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(expert_load(shuffled), expert_load(frame))


def test_totals_beside_their_documents_count_once(tmp_path: Path) -> None:
    run = _write(tmp_path)
    frame = load_runs(run).routing()
    totals = cells(frame).merge(["model", "run", "task", "phase", "layer", "projection"])
    keys = totals.keys.assign(document=-1)
    whole = type(totals)(**{**vars(totals), "keys": keys}).to_frame()
    pd.testing.assert_frame_equal(
        expert_load(pd.concat([frame, whole])).astype({"task": str}),
        expert_load(frame).astype({"task": str}),
        check_categorical=False,
    )


def test_a_task_of_two_kinds_is_refused(tmp_path: Path) -> None:
    for model, language in (("one", "en"), ("two", "zh")):
        write_run(tmp_path, model, [FakeTask("a", language=language)])
    with pytest.raises(AnalysisError, match="a is of different kinds: en-exam, zh-exam"):
        task_groups(load_runs(tmp_path))
    assert task_groups(load_runs(tmp_path), ["family"]) == {"a": "exam"}


def test_tasks_that_say_nothing_of_their_kind_are_others(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", [FakeTask("a"), FakeTask("b")])
    scores = pd.read_parquet(run / "scores.parquet")
    scores.loc[scores["task"] == "a", ["language", "family"]] = None
    scores.to_parquet(run / "scores.parquet", index=False)
    assert task_groups(load_runs(run)) == {"a": "other", "b": "en-exam"}


@pytest.mark.parametrize("documents", [0, 4])
@pytest.mark.parametrize("models", [1, 2])
def test_kinds_as_json_have_a_row_per_kind_and_expert(
    documents: int, models: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [FakeTask(name, language="zh" if name in "ab" else "en") for name in NAMES]
    for i in range(models):
        routing = write_routing(NAMES, documents=documents, seed=i, lean=2.0)
        write_run(tmp_path, f"m{i}", tasks, routing=routing)
    assert main(["routing", "kinds", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == models * 2 * 4
    for i in range(models):
        for kind in ("zh-exam", "en-exam"):
            mine = [row for row in rows if (row["model"], row["kind"]) == (f"m{i}", kind)]
            assert [row["expert"] for row in mine] == [0, 1, 2, 3]
            assert sum(row["rate"] for row in mine) == pytest.approx(2)
            assert all(0 <= row["rate"] <= 1 and row["chance"] == 0.5 for row in mine)
            assert all((row["low"] is None) == (documents == 0) for row in mine)


def test_a_report_shows_the_same_rates(tmp_path: Path) -> None:
    run = _write(tmp_path)
    text = write_report(load_runs(run), tmp_path / "page.html").read_text(encoding="utf-8")
    found = specialization(
        regroup(load_runs(run).routing(), dict.fromkeys(NAMES, "en-exam")), across_routers=True
    )
    for row in found.to_dict("records"):
        assert f"en-exam, expert {row['expert']}: {100 * row['rate']:.1f}%" in text
