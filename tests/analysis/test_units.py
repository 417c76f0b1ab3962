"""What a score is counted in is a property of its metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medbench.analysis import compare, leaderboard, load_runs
from medbench.analysis.routing.gains import shared_gains
from medbench.analysis.units import Unit, shared_unit, unit_of, with_units
from tests.analysis.factory import FakeTask, write_routing, write_run


@pytest.mark.parametrize(
    ("metric", "aggregation", "unit"),
    [
        ("acc", "mean", "share"),
        ("acc_norm", "mean", "share"),
        ("acc_bytes", "mean", "share"),
        ("acc_mutual_info", "mean", "share"),
        ("acc_circular", "mean", "share"),
        ("exact_match", "mean", "share"),
        ("acc", "nanmean", "share"),
        ("f1", "f1", "share"),
        ("f1", "micro_f1", "share"),
        ("macro_f1_norm", "macro_f1", "share"),
        ("rouge_l", "mean", "share"),
        # Out of 100, without a bound, or from -1 to 1.
        ("bleu", "bleu", "number"),
        ("chrf", "chrf", "number"),
        ("chrf++", "chrf++", "number"),
        ("ter", "ter", "number"),
        ("perplexity", "perplexity", "number"),
        ("word_perplexity", "weighted_perplexity", "number"),
        ("byte_perplexity", "weighted_perplexity", "number"),
        ("bits_per_byte", "bits_per_byte", "number"),
        ("brier_score", "brier_score", "number"),
        ("mcc", "matthews_corrcoef", "number"),
        ("likelihood", "mean", "number"),
        ("bypass", "bypass", "number"),
        # Nobody knows what these mean.
        ("answer_length", "mean", "number"),
        ("f1", "mean", "number"),
        ("acc", "median", "number"),
        ("acc", "my_aggregation", "number"),
    ],
)
def test_the_metric_and_its_aggregation_say_the_unit(metric: str, aggregation: str, unit: Unit) -> None:
    assert unit_of(metric, aggregation) == unit


def test_every_registered_metric_within_0_and_1_is_a_share_or_unknown() -> None:
    from lm_eval.api import metrics  # noqa: F401 - registers them
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    wide = {"perplexity", "weighted_perplexity", "bits_per_byte", "bleu", "chrf", "chrf++", "ter", "bypass"}
    wide |= {"brier_score", "matthews_corrcoef"}
    known = set(AGGREGATION_REGISTRY)
    assert wide <= known
    assert {name for name in known if unit_of("acc", name) == "share"} == {"mean", "nanmean", "f1"}


def _rows(*rows: tuple[str, str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": task,
            "metric": metric,
            "aggregation": aggregation,
            "value": value,
            "kind": "task",
            "main": True,
            "members": None,
        }
        for task, metric, aggregation, value in rows
    )


def test_no_value_changes_the_unit_of_a_single_row() -> None:
    rows = _rows(("a", "acc", "mean", 0.4), ("b", "acc", "mean", 85.0), ("b", "acc", "mean", 0.5))
    assert with_units(rows)["unit"].tolist() == ["share", "number", "number"]
    rows = _rows(("a", "perplexity", "perplexity", 0.4), ("a", "perplexity", "perplexity", 8.5))
    assert with_units(rows)["unit"].tolist() == ["number", "number"]
    assert with_units(_rows(("a", "acc", "mean", 1.0000000000000002)))["unit"].tolist() == ["share"]
    assert with_units(_rows(("a", "acc", "mean", float("nan"))))["unit"].tolist() == ["share"]


def test_rows_keep_their_order_and_their_columns() -> None:
    rows = _rows(("b", "acc", "mean", 0.4), ("a", "ter", "ter", 0.5)).set_index(pd.Index([7, 7]))
    found = with_units(rows)
    assert found["unit"].tolist() == ["share", "number"]
    pd.testing.assert_frame_equal(found.drop(columns="unit"), rows)
    assert "unit" in with_units(pd.DataFrame({"model": [], "run": []}))


def _group(name: str, members: list[str] | None, metric: str = "macro_average") -> pd.DataFrame:
    row: dict[str, Any] = {"task": name, "metric": metric, "aggregation": "macro", "value": 0.5}
    return pd.DataFrame([{**row, "kind": "group", "main": True, "members": members}])


@pytest.mark.parametrize(
    ("members", "unit"),
    [
        (["a", "b"], "share"),
        (["a", "p"], "number"),
        (["inner", "b"], "number"),
        (["outer", "a"], "share"),
        (["unknown", "a"], "share"),
        (["unknown"], "number"),
        ([], "number"),
        (None, "number"),
    ],
)
def test_an_average_has_the_unit_that_its_tasks_share(members: list[str] | None, unit: str) -> None:
    tasks = _rows(("a", "acc", "mean", 0.4), ("b", "f1", "micro_f1", 0.5), ("p", "ter", "ter", 0.5))
    frame = pd.concat([_group("inner", ["p"]), tasks, _group("outer", members)], ignore_index=True)
    assert with_units(frame)["unit"].tolist()[-1] == unit


def test_units_that_differ_make_a_number() -> None:
    assert shared_unit(["share", "share"]) == "share"
    assert shared_unit(["share", "number"]) == "number"
    assert shared_unit([]) == "number"


def test_runs_comparisons_and_rankings_carry_units(tmp_path: Path) -> None:
    tasks = [FakeTask("a"), FakeTask("b", kind="extraction")]
    for seed, model in enumerate(("one", "two")):
        write_run(tmp_path, model, tasks, seed=seed, groups={"suite": ["a", "b"]})
    runs = load_runs(tmp_path)
    assert set(runs.scores()["unit"]) == {"share"}
    assert set(compare(runs, "one", draws=50)["unit"]) == {"share"}
    assert leaderboard(runs, draws=50).units == {"a": "share", "b": "share"}


def test_gains_on_another_scale_are_left_out(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d", "e"]
    for seed, model in enumerate(("early", "late")):
        tasks = [FakeTask(name, skill=0.3 + 0.1 * i) for i, name in enumerate(names)]
        run = write_run(tmp_path, model, tasks, seed=seed, routing=write_routing(names, lean=2.0))
        scores = pd.read_parquet(run / "scores.parquet")
        last = scores["task"] == "e"
        scores = scores.assign(
            metric=scores["metric"].mask(last, "bleu"),
            aggregation=scores["aggregation"].mask(last, "bleu"),
            value=scores["value"].mask(last, 30.0 * seed),
        )
        scores.to_parquet(run / "scores.parquet", index=False)
    runs = load_runs(tmp_path)
    found = shared_gains(runs.select(model="late"), runs.select(model="early"), draws=20)
    assert found.tasks == 4
    assert set(found.pairs["task"]) | set(found.pairs["other"]) == set("abcd")
